import type { Page } from '../../lib/page';

export default {
  path: 'reach',
  title: 'reach',
  icon: 'M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 100 6 3 3 0 000-6z',
  order: 30,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
