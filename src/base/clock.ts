/** Wall clock minus CLOCK_BOOTTIME. */
export interface ClockOffset {
  readonly seconds: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
}
