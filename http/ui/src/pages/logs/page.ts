import type { Page } from '../../lib/page';

export default {
  path: 'logs',
  title: 'logs',
  icon: 'M4 6h16M4 11h16M4 16h10',
  order: 78,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
