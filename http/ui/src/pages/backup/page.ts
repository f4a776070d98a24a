import type { Page } from '../../lib/page';

export default {
  path: 'backup',
  title: 'backup',
  icon: 'M4 14v6h16v-6M12 3v12M7 10l5 5 5-5',
  order: 75,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
