import type { Page } from '../../lib/page';

export default {
  path: 'history',
  title: 'history',
  icon: 'M4 12a8 8 0 1 0 2.500-5.800M4 4v4h4M12 8v4.500l3 2',
  order: 60,
  admin: true,
  key: 'h',
  load: () => import('./Page.svelte'),
} satisfies Page;
