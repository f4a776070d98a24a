import type { Page } from '../../lib/page';

export default {
  path: 'config',
  title: 'config',
  icon: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4',
  order: 76,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
