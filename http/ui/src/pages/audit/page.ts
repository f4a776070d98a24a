import type { Page } from '../../lib/page';

export default {
  path: 'audit',
  title: 'audit',
  icon: 'M6 3h9l4 4v14H6zM14 3v5h5M9 12h7M9 16h7',
  order: 80,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
