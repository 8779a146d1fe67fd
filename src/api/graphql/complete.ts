import type { GraphQLScalarType } from 'graphql';
import type { ErrorCode } from '../../base/error-code.js';
import type { ProcessView, Gap } from '../../event/event.js';
import type {
  AdviceDifference,
  AdviceFile,
  CheckResult,
  OutsideAttempt,
  Refusal,
  Verification,
  VerificationRound,
} from '../../event/advice.js';
import type {
  BehaviourReport,
  CapabilityEntry,
  Difference,
  DnsNameEntry,
  ExitEntry,
  FileEntry,
  MissingSection,
  Other,
  PeerEntry,
  PortEntry,
  PrivilegeEntry,
  ProgramEntry,
  RefusedCallEntry,
  ReportComparison,
  ReportedSession,
  Section,
  SyscallEntry,
} from '../../event/report.js';
import type { Resolvers } from '../../generated/schema.js';
import type { AdviceView } from '../../service/advice/protocol.js';
import type { Alerts, AlertCountRow, SilenceView } from '../../service/alerts.js';
import type { ContainerChange } from '../../service/container-feed.js';
import type { Facts, ServerView, TrackerView } from '../../service/facts.js';
import type { Histories, History } from '../../service/history.js';
import type { AttachmentView, PluginView, ResultBatch, ResultView } from '../../service/plugins.js';
import type {
  Rules,
  RulesView,
  RuleTestView,
  RuleTrialView,
  RuleUploadView,
  RuleView,
} from '../../service/rules/rules.js';
import type { SavedQueryView } from '../../service/saved-queries/queries.js';
import type { DeliveryStream, SessionHandle } from '../../service/session/handle.js';
import type { SocketOwner } from '../../service/snapshots.js';
import type { ContainerResources, ListeningPort } from '../../service/containers.js';
import type { Processes } from '../../service/processes.js';
import type { Connection, Edge, PageInfo } from './connection.js';
import type { SnapshotConnection } from './resolvers/snapshot.js';

/**
 * Whether every field of the schema has a resolver, or a property of what its type is resolved from. A field that has
 * neither would be null, or an error, in silence: here it does not compile. Only types of events and of rows of snapshots
 * are left out: their fields come from records, which `src/catalog/contract.test.ts` and `src/snapshot/contract.test.ts` check.
 */

type Of<List> = List extends readonly (infer Item)[] ? Item : never;
type Yield<Stream> = Stream extends AsyncIterable<infer Item> ? Item : never;
type Row = Of<Awaited<ReturnType<SessionHandle['aggregate']>>>;
type Alert = Of<Awaited<ReturnType<Alerts['page']>>['rows']>;
type EventValue = Of<ReturnType<ReturnType<Facts['values']>['of']>>;
type ValueType = Of<TrackerView['fields']>['valueType'];
type Container = Of<Awaited<ReturnType<Facts['containers']>>>;
/** The table of codes. */
interface ErrorDescription {
  readonly code: ErrorCode;
  readonly meaning: string;
  readonly remedy: string;
  readonly httpStatus: number | null;
}
type Plan = Awaited<ReturnType<SessionHandle['explain']>>;
type Spec = NonNullable<SessionHandle['spec']>;
type Selection = Of<NonNullable<NonNullable<Spec['target']>['containers']>>;
type Stats = Awaited<ReturnType<SessionHandle['stats']>>;

type AlertEvidence = NonNullable<ReturnType<Alerts['evidenceOf']>>;

/** What sections of a report list. */
interface Listed {
  Capability: CapabilityEntry;
  DnsName: DnsNameEntry;
  Exit: ExitEntry;
  File: FileEntry;
  Peer: PeerEntry;
  Port: PortEntry;
  Privilege: PrivilegeEntry;
  Program: ProgramEntry;
  RefusedCall: RefusedCallEntry;
  Syscall: SyscallEntry;
}
type ListedSources = { [Name in keyof Listed as `${Name}Entry`]: Listed[Name] } & {
  [Name in keyof Listed as `${Name}Section`]: Section<Listed[Name]>;
};

/** What the fields of a type are read from, where they have no resolver. */
export interface ResolverSources extends ListedSources {
  Query: object;
  Mutation: object;
  Subscription: object;
  Advice: AdviceView;
  AdviceCoverage: AdviceView['coverage'];
  AdviceDifference: AdviceDifference;
  AdviceFile: AdviceFile;
  AdviceLine: Of<AdviceView['lines']>;
  AdviceAttempt: OutsideAttempt;
  AdviceCheck: CheckResult;
  AdviceRefusal: Refusal;
  AdviceRound: VerificationRound;
  AdviceVerification: Verification;
  AggregateChange: Yield<ReturnType<SessionHandle['follow']>>;
  AggregateRow: Row;
  Alert: Alert;
  AlertChange: Of<Alert['history']>;
  AlertCount: AlertCountRow;
  AlertAncestor: Of<AlertEvidence['ancestors']>;
  AlertContainer: NonNullable<Alert['container']>;
  AlertEdge: Edge;
  AlertEvidence: AlertEvidence;
  AlertProcess: NonNullable<Alert['process']>;
  AlertStatus: ReturnType<Alerts['status']>;
  Silence: SilenceView;
  WebhookStatus: Of<ReturnType<Alerts['status']>['webhooks']>;
  AlertConnection: Connection;
  ContainerConnection: Connection;
  ContainerEdge: Edge;
  SessionConnection: Connection;
  SessionEdge: Edge;
  SavedQuery: SavedQueryView;
  SavedQueryConnection: Connection;
  SavedQueryEdge: Edge;
  BehaviourReport: BehaviourReport;
  Container: Container;
  ContainerChange: ContainerChange;
  ContainerSelection: Selection;
  ContainerEngine: Awaited<ReturnType<ServerView['engine']>>;
  EventBatch: Yield<DeliveryStream>;
  EventConnection: Connection;
  EventEdge: Edge;
  EventValue: EventValue;
  FilterPlan: Plan;
  Gap: Gap;
  GroupValue: Of<Row['key']>;
  HistogramBucket: Of<NonNullable<Of<Row['values']>['buckets']>>;
  History: History;
  HistoryConnection: Connection;
  HistoryEdge: Edge;
  Kernel: ServerView['kernel'];
  KernelFeature: Of<ServerView['kernel']['features']>;
  Label: Of<SessionHandle['labels']>;
  LabelSelection: Of<NonNullable<Selection['labels']>>;
  MeasureValue: Of<Row['values']>;
  Node: object;
  ServerNode: ServerView['node'];
  ErrorDescription: ErrorDescription;
  PersistSpec: NonNullable<Spec['persist']>;
  Persistence: NonNullable<SessionHandle['persistence']>;
  StoredProcesses: NonNullable<NonNullable<SessionHandle['persistence']>['processes']>;
  Plugin: PluginView;
  PluginError: Of<AttachmentView['errors']>;
  PluginOption: Of<PluginView['options']>;
  PluginSpec: Of<Spec['plugins']>;
  PluginResult: ResultView;
  PluginResultBatch: ResultBatch;
  PluginResultConnection: Connection;
  PluginResultEdge: Edge;
  Pod: NonNullable<Container['pod']>;
  Process: ProcessView;
  ContainerResources: ContainerResources;
  CpuUse: NonNullable<ContainerResources['cpu']>;
  MemoryUse: NonNullable<ContainerResources['memory']>;
  IoUse: NonNullable<ContainerResources['io']>;
  TaskUse: NonNullable<ContainerResources['tasks']>;
  ResourcePressure: NonNullable<ContainerResources['pressure']>;
  PressureStall: NonNullable<NonNullable<ContainerResources['pressure']>['cpu']>;
  StallTime: NonNullable<NonNullable<ContainerResources['pressure']>['cpu']>['some'];
  ListeningPort: ListeningPort;
  ServerUsage: ServerView['usage'];
  PageInfo: PageInfo;
  ProcessTable: NonNullable<ReturnType<Processes['table']>>;
  MissingSection: MissingSection;
  ReportComparison: ReportComparison;
  ReportContainer: NonNullable<BehaviourReport['container']>;
  ReportDifference: Difference;
  ReportedSession: ReportedSession;
  ReportOther: Other;
  Rule: RuleView;
  RuleCheck: Awaited<ReturnType<Rules['check']>>;
  RuleTest: RuleTestView;
  RuleTestAlert: Of<RuleTestView['alerts']>;
  RuleTestRun: RuleTrialView;
  RulePushdown: Of<Awaited<Of<RuleView['steps']>['pushdowns']>>;
  RuleAction: Of<RuleView['actions']>;
  RuleActionStatus: RulesView['actions'];
  RuleStats: RuleView['stats'];
  RuleStep: Of<RuleView['steps']>;
  RuleUpload: RuleUploadView;
  Rules: RulesView;
  MountConnection: SnapshotConnection;
  MountEdge: Edge;
  OpenFileConnection: SnapshotConnection;
  OpenFileEdge: Edge;
  RunningProcessConnection: SnapshotConnection;
  RunningProcessEdge: Edge;
  RestrictedSection: Of<BehaviourReport['restricted']>;
  Server: ServerView;
  Session: SessionHandle;
  SessionPlugin: AttachmentView;
  SessionPluginStats: AttachmentView['stats'];
  SessionSpec: Spec;
  SessionChange: Of<SessionHandle['changes']>;
  SessionStats: Stats;
  SessionStatsPoint: Of<NonNullable<Awaited<ReturnType<SessionHandle['statsHistory']>>>>;
  SharingPlan: Plan['sharing'];
  SocketConnection: SnapshotConnection;
  SocketEdge: Edge;
  SocketOwner: SocketOwner;
  StoreStatus: Of<Awaited<ReturnType<Histories['stores']>>>;
  SubscriberStats: Of<Stats['subscribers']>;
  TargetSpec: NonNullable<Spec['target']>;
  TimeWindow: NonNullable<Row['window']>;
  NamedValue: Of<NonNullable<ValueType['values']>>;
  ValueType: ValueType;
  TopValue: Of<NonNullable<Of<Row['values']>['top']>>;
  Tracker: TrackerView;
  TrackerField: Of<TrackerView['fields']>;
  TrackerOption: Of<TrackerView['options']>;
  TrackerPlan: Of<Plan['trackers']>;
  TrackerSpec: Of<Spec['trackers']>;
}

/** Rows of snapshots, whose fields come from records. */
type SnapshotRow = 'Mount' | 'OpenFile' | 'RunningProcess' | 'Socket';

type TypeName = {
  [Name in keyof Resolvers]-?: NonNullable<Resolvers[Name]> extends GraphQLScalarType ? never : Name;
}[keyof Resolvers];
type ObjectName = Exclude<TypeName, 'TraceEvent' | `${string}Event` | SnapshotRow>;
type FieldsOf<Name extends ObjectName> = Exclude<keyof NonNullable<Resolvers[Name]>, '__isTypeOf' | '__resolveType'>;
/** A method is no value: the default resolver would call it with arguments that it does not take. */
type ValuesOf<Source> = Source extends unknown
  ? {
      [Key in keyof Source]-?: NonNullable<Source[Key]> extends (...args: never[]) => unknown ? never : Key;
    }[keyof Source]
  : never;
type KeysOf<Union> = Union extends unknown ? keyof Union : never;
type ResolvedBy<Maps, Name> = Maps extends unknown ? (Name extends keyof Maps ? KeysOf<Maps[Name]> : never) : never;

/** Fields that nothing resolves, as "Type.field", with these maps of resolvers; never when all are. */
export type Unresolved<Maps, From = ResolverSources> = {
  [Name in ObjectName]: `${Name}.${string &
    (Name extends keyof From
      ? Exclude<FieldsOf<Name>, ResolvedBy<Maps, Name> | ValuesOf<From[Name]>>
      : FieldsOf<Name>)}`;
}[ObjectName];

/** The maps themselves; a type that nothing satisfies, naming the fields, when some are not resolved. */
export type Complete<Maps extends readonly unknown[]> = [Unresolved<Maps[number]>] extends [never]
  ? Maps
  : { readonly unresolved: Unresolved<Maps[number]> };
