import type { Page } from '../../lib/page';

export default {
  path: 'about',
  title: 'about',
  icon: 'M12 3a9 9 0 100 18 9 9 0 000-18zM12 11v6M12 7v.5',
  order: 99,
  load: () => import('./Page.svelte'),
} satisfies Page;
