/** The live feed, as the page sees it. */
export const live = $state({
  state: 'connecting' as 'connecting' | 'on' | 'lost',
  stop() {},
});
