import type { Page } from '../../lib/page';

export default {
  path: 'clients',
  title: 'clients',
  icon: 'M7 3h10v18H7zM11 18h2',
  order: 10,
  admin: true,
  key: 'c',
  load: () => import('./Page.svelte'),
} satisfies Page;
