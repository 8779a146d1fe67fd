import { Option } from 'commander';

/** What a session does besides being read. */
export interface StartFlags {
  readonly persist?: string | boolean;
  readonly plugin?: readonly string[];
}

export function persistFlag(text: string): Option {
  return new Option('--persist [store]', `${text}; the embedded one by default`).choices(['embedded', 'influx']);
}

/** The part of `StartSessionInput` that these flags say. */
export function startedWith({ persist, plugin }: StartFlags): object {
  return {
    persist: persist === undefined ? null : persistInput(persist),
    plugins: plugin?.map((name) => ({ name })),
  };
}

/** `PersistInput` of `--persist [store]`: true is the default store. */
export function persistInput(store: string | boolean): object | null {
  if (store === false) return null;
  return store === true ? {} : { store: store.toUpperCase() };
}
