/** What a tool returns to the agent. */
export interface Answer {
  readonly text: string;
  readonly isError: boolean;
}

/** A tool of the Model Context Protocol. */
export interface Tool {
  readonly name: string;
  readonly description: string;
  /** JSON Schema. */
  readonly inputSchema: {
    readonly type: 'object';
    readonly properties: Readonly<Record<string, object>>;
    readonly required: readonly string[];
    readonly additionalProperties: false;
  };
  /** Whether it changes something that lasts. */
  readonly changes: boolean;
  /** Rejects with what is wrong, for the agent to read. */
  call(args: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Answer>;
}
