import type { Page } from '../../lib/page';

export default {
  path: 'users',
  title: 'users',
  icon: 'M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.5 20c0-4 3-6 6.500-6s6.500 2 6.500 6M16 4.500a3.500 3.500 0 010 6.500M18 14.500c2.200.8 3.500 2.700 3.500 5.500',
  order: 40,
  admin: true,
  key: 'u',
  load: () => import('./Page.svelte'),
} satisfies Page;
