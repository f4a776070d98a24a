import { told } from './api';

/** What a page asks of the server and what came of it: it says so (Said.svelte shows it), and loads again. */
export class Work {
  said = $state(''); // what was done
  private asking = $state(0);
  private refused = $state(''); // by the last thing that was done
  private lost = $state(''); // by the last load

  /** load reads what the page shows; it is read at once. */
  constructor(private readonly read: () => Promise<unknown> = async () => undefined) {
    void this.load();
  }

  get error() {
    return this.refused || this.lost;
  }

  get busy() {
    return this.asking > 0;
  }

  load = async () => {
    try {
      await this.read();
      this.lost = '';
    } catch (e) {
      this.lost = told(e);
    }
  };

  /** Asks something that changes nothing here; tells whether it went well. */
  ask = async (f: () => Promise<unknown>): Promise<boolean> => {
    this.refused = this.said = '';
    this.asking++;
    try {
      await f();
    } catch (e) {
      this.refused = told(e);
    }
    this.asking--;
    return !this.refused;
  };

  /** Does something, says what f returns if that is a text, and loads again. What was refused leaves the page as it is. */
  act = (f: () => Promise<unknown>): Promise<boolean> =>
    this.ask(async () => {
      const said = await f();
      await this.load();
      if (typeof said === 'string') this.said = said;
    });
}
