/** `PersistInput` of `--persist [store]`: true is the default store. */
export function persistInput(store: string | boolean): object | null {
  if (store === false) return null;
  return store === true ? {} : { store: store.toUpperCase() };
}
