/** Of whoever caused the event, as it was then. Null: not known. */
export interface AlertProcess {
  readonly pid: number;
  readonly ppid: number | null;
  readonly uid: number | null;
  readonly comm: string | null;
  readonly startTime: string | null;
}

export interface AlertContainer {
  readonly id: string;
  readonly name: string | null;
  readonly image: string | null;
}
