import type { Page } from '../../lib/page';

export default {
  path: 'packages',
  title: 'packages',
  icon: 'M12 3l8 4.500v9L12 21l-8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9',
  order: 25,
  load: () => import('./Page.svelte'),
} satisfies Page;
