// What a hook shows: state outside of React, and how often a change of it may draw the page anew.

export class Store<State extends object> {
  #state: State;
  #shown: State;
  #intervalMs: number;
  #listeners = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** @param intervalMs how often changes that come in floods are shown */
  constructor(initial: State, intervalMs: number) {
    this.#state = this.#shown = initial;
    this.#intervalMs = intervalMs;
  }

  /** The newest state, shown or not. */
  get state(): State {
    return this.#state;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly snapshot = (): State => this.#shown;

  /** Changes the state, and shows it now. */
  set(change: Partial<State>): void {
    this.#take(change);
    this.#show();
  }

  /** Changes the state, and shows it now or when the interval is over. */
  setSoon(change: Partial<State>): void {
    this.#take(change);
    if (this.#timer === null) this.#showAndWait();
  }

  // A timer and not an animation frame: pages in the background get no frames.
  #showAndWait(): void {
    this.#timer = null;
    if (!this.#show()) return;
    this.#timer = setTimeout(() => this.#showAndWait(), this.#intervalMs);
  }

  #take(change: Partial<State>): void {
    const keys = Object.keys(change) as (keyof State)[];
    if (keys.some((key) => !Object.is(this.#state[key], change[key]))) this.#state = { ...this.#state, ...change };
  }

  #show(): boolean {
    if (this.#shown === this.#state) return false;
    this.#shown = this.#state;
    for (const listener of [...this.#listeners]) listener();
    return true;
  }
}
