// What the two processes of the explorer say to each other: the screen asks, the reader answers. All of it is JSON, and every text in it can be
// shown as it is: the reader has made control characters of names visible.

export const paneNames = ['files', 'subvolumes', 'btrees', 'buckets', 'journal', 'superblock'] as const;
export type PaneName = (typeof paneNames)[number];

/** A list that can be shown. The screen gives it back as it got it. */
export type Place =
  | { readonly kind: 'pane'; readonly pane: PaneName }
  | {
      readonly kind: 'directory';
      /** 0 for a snapshot that no subvolume lives in. */
      readonly subvolume: number;
      readonly snapshot: number;
      /** Names with backslashes, as commands take them. */
      readonly path: string;
    }
  | { readonly kind: 'btree'; readonly btree: number }
  | { readonly kind: 'nodes'; readonly btree: number; readonly level: number }
  | { readonly kind: 'keys'; readonly btree: number; readonly from: string; readonly to: string }
  | { readonly kind: 'buckets'; readonly device: number };

export interface Span {
  readonly text: string;
  /** As ink names them. */
  readonly color?: string;
  readonly background?: string;
}

export type Line = readonly Span[];

export interface Row {
  readonly text: string;
  readonly color?: string;
  /** What Enter shows. */
  readonly opens?: { readonly place: Place; readonly title: string };
}

/** Room for details, in characters. */
export interface Room {
  readonly columns: number;
  readonly rows: number;
}

export type Request = { readonly id: number; readonly place: Place } & (
  | { readonly kind: 'rows'; readonly from: number | 'end'; readonly count: number }
  | { readonly kind: 'search'; readonly text: string; readonly from: number }
  | { readonly kind: 'detail'; readonly row: number; readonly room: Room }
  | { readonly kind: 'page'; readonly row: number }
  | { readonly kind: 'copy'; readonly row: number; readonly to: string }
);

export type Answer = { readonly id: number } & (
  | {
      readonly kind: 'rows';
      readonly from: number;
      readonly rows: readonly Row[];
      /** How many rows are known of; all when `isWhole`. */
      readonly count: number;
      readonly isWhole: boolean;
    }
  | { readonly kind: 'found'; readonly row: number | undefined }
  | { readonly kind: 'detail'; readonly lines: readonly Line[] }
  | { readonly kind: 'page'; readonly file: string }
  | { readonly kind: 'said'; readonly message: string }
);
