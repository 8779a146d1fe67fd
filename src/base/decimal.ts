/** Without what binary arithmetic leaves behind the 15 digits that a double holds for sure: 60, not 60.00000000000001. */
export function decimal(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(15)) : value;
}

/** To a thousandth: what is finer in a measured time or rate is noise. */
export function thousandths(value: number): number {
  return Math.round(value * 1000) / 1000;
}
