/** One line of a comparison: "-" is in the first text alone, "+" in the second. */
export interface Line {
  mark: ' ' | '-' | '+';
  text: string;
}

/** The lines of two texts side by side, by their longest common subsequence: for files of some thousand lines. */
export function diff(before: string, after: string): Line[] {
  const [a, b] = [before.split('\n'), after.split('\n')];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let [x, y] = [a.length, b.length];
  while (x > head && y > head && a[x - 1] === b[y - 1]) x--, y--;
  const [m, n] = [x - head, y - head];
  // common[i][j] is the length of the longest common subsequence of what is left from i and j.
  const common = Array.from({ length: m + 1 }, () => new Uint32Array(n + 1));
  for (let i = m - 1; i >= 0; i--)
    for (let j = n - 1; j >= 0; j--) common[i][j] = a[head + i] === b[head + j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const lines: Line[] = a.slice(0, head).map((text) => ({ mark: ' ', text }));
  for (let i = 0, j = 0; i < m || j < n; ) {
    if (i < m && j < n && a[head + i] === b[head + j]) lines.push({ mark: ' ', text: a[head + i++] }), j++;
    else if (i < m && (j >= n || common[i + 1][j] >= common[i][j + 1])) lines.push({ mark: '-', text: a[head + i++] });
    else lines.push({ mark: '+', text: b[head + j++] });
  }
  return lines.concat(a.slice(x).map((text) => ({ mark: ' ', text })));
}

/** Of the lines those that differ, with some around them; null stands for what is left out. */
export function around(lines: Line[], context = 2): (Line | null)[] {
  const near = lines.map((_, i) => lines.slice(Math.max(0, i - context), i + context + 1).some((l) => l.mark !== ' '));
  return lines.flatMap((l, i) => (near[i] ? [l] : i > 0 && near[i - 1] ? [null] : []));
}
