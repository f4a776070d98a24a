import type { Page } from '../../lib/page';

export default {
  path: 'certificates',
  title: 'certificates',
  icon: 'M4 4h16v12H4zM8 8h8M8 11h5M15 16v5l2-1.500 2 1.500v-5',
  order: 52,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
