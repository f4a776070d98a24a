import type { Page } from '../../lib/page';

export default {
  path: 'map',
  title: 'map',
  icon: 'M9 4L3 6.5v13L9 17l6 3 6-2.5v-13L15 7zM9 4v13M15 7v13',
  order: 0,
  key: 'm',
  load: () => import('./Page.svelte'),
} satisfies Page;
