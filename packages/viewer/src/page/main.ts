// The page: three views of a filesystem, and where to drop an image. All text of the filesystem becomes text nodes, by preact's `h`; nothing
// here makes HTML out of strings.

import { type ComponentChild, h, render } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { hexText, modeText, shownName, sizeText, textOfFile, timeText } from './names.ts';
import type { Answers, Entry, Kind, MapOfDevice, Overview, Questions, Source } from './session.ts';

class AnswerError extends Error {
  readonly code: string | undefined;
  constructor({ message, code }: { message: string; code?: string }) {
    super(message);
    this.code = code;
  }
}

interface Reply {
  readonly nr: number;
  readonly found?: Answers[Kind];
  readonly error?: { message: string; code?: string };
}

const source = document.getElementById('worker')!.textContent!;
const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
const waiting = new Map<number, (reply: Reply) => void>();
let lastNr = 0;
worker.onmessage = ({ data }: MessageEvent<Reply>) => {
  waiting.get(data.nr)?.(data);
  waiting.delete(data.nr);
};
worker.onerror = ({ message }) => {
  for (const [nr, take] of waiting) take({ nr, error: { message } });
  waiting.clear();
};

function ask<K extends Kind>(kind: K, question: Questions[K]): Promise<Answers[K]> {
  const nr = ++lastNr;
  return new Promise((resolve, reject) => {
    waiting.set(nr, ({ found, error }) =>
      error === undefined ? resolve(found as Answers[K]) : reject(new AnswerError(error)),
    );
    worker.postMessage({ nr, kind, question });
  });
}

const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

/** What is asked again when `key` changes. */
function useAnswer<T>(key: string, question: () => Promise<T>): { found?: T; error?: string } {
  const [state, setState] = useState<{ key: string; found?: T; error?: string }>({ key: '' });
  useEffect(() => {
    let isWanted = true;
    question().then(
      found => isWanted && setState({ key, found }),
      thrown => isWanted && setState({ key, error: messageOf(thrown) }),
    );
    return () => {
      isWanted = false;
    };
  }, [key]);
  return state.key === key ? state : {};
}

const ROW_PX = 28;

interface ListProps {
  readonly label: string;
  readonly count: number;
  readonly row: (nr: number) => ComponentChild;
  readonly onSelect: (nr: number) => void;
  readonly onOpen: (nr: number) => void;
  readonly onBack: () => void;
}

/** A list of any length: only the rows that can be seen exist. */
function LongList({ label, count, row, onSelect, onOpen, onBack }: ListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const [at, setAt] = useState(0);
  useEffect(() => {
    const watch = new ResizeObserver(() => setHeight(box.current?.clientHeight ?? 600));
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  const select = (nr: number) => {
    if (count === 0) return;
    const next = Math.max(0, Math.min(count - 1, nr));
    setAt(next);
    onSelect(next);
    const element = box.current!;
    if (next * ROW_PX < element.scrollTop) element.scrollTop = next * ROW_PX;
    const bottom = (next + 1) * ROW_PX - element.clientHeight;
    if (bottom > element.scrollTop) element.scrollTop = bottom;
  };
  const page = Math.max(1, Math.floor(height / ROW_PX) - 1);
  const keys: Readonly<Record<string, () => void>> = {
    ArrowDown: () => select(at + 1),
    ArrowUp: () => select(at - 1),
    PageDown: () => select(at + page),
    PageUp: () => select(at - page),
    Home: () => select(0),
    End: () => select(count - 1),
    Enter: () => count > 0 && onOpen(at),
    ArrowRight: () => count > 0 && onOpen(at),
    Backspace: onBack,
    ArrowLeft: onBack,
  };
  const first = Math.max(0, Math.floor(top / ROW_PX) - 5);
  const end = Math.min(count, Math.ceil((top + height) / ROW_PX) + 5);
  const rows = [];
  for (let nr = first; nr < end; nr++) {
    const props = {
      key: nr,
      id: `row-${nr}`,
      class: 'row',
      role: 'option',
      'aria-selected': nr === at,
      'aria-setsize': count,
      'aria-posinset': nr + 1,
      style: { top: `${nr * ROW_PX}px` },
      onClick: () => select(nr),
      onDblClick: () => onOpen(nr),
    };
    rows.push(h('div', props, row(nr)));
  }
  return h(
    'div',
    {
      ref: box,
      class: 'list',
      role: 'listbox',
      tabIndex: 0,
      'aria-label': label,
      'aria-activedescendant': count > 0 ? `row-${at}` : undefined,
      onScroll: () => setTop(box.current!.scrollTop),
      onKeyDown: (event: KeyboardEvent) => {
        const act = keys[event.key];
        if (act === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        act();
      },
    },
    h('div', { class: 'rows', style: { height: `${count * ROW_PX}px` } }, rows),
  );
}

const isFolder = ({ type }: Entry): boolean => type === 'dir' || type === 'subvol';
const joined = (path: string, name: string): string => (path === '' ? name : `${path}/${name}`);
const icons: Readonly<Record<string, string>> = { dir: '▸', subvol: '◆', lnk: '→', reg: ' ' };

function Files({ path, setPath }: { path: string; setPath: (path: string) => void }) {
  const { found, error } = useAnswer(`list ${path}`, () => ask('list', { path }));
  const [nr, setNr] = useState(0);
  const [shown, setShown] = useState('');
  if (shown !== path) {
    setShown(path);
    setNr(0);
  }
  const parts = path === '' ? [] : path.split('/');
  const entry = found?.[nr];
  const crumbs = parts.map((part, at) =>
    h(
      'li',
      { key: at },
      h(
        'button',
        { type: 'button', class: 'plain', onClick: () => setPath(parts.slice(0, at + 1).join('/')) },
        h('bdi', null, shownName(part)),
      ),
    ),
  );
  return h(
    'section',
    { class: 'files', 'aria-label': 'Files' },
    h(
      'nav',
      { 'aria-label': 'Path' },
      h(
        'ol',
        { class: 'crumbs' },
        h('li', null, h('button', { type: 'button', class: 'plain', onClick: () => setPath('') }, 'root')),
        crumbs,
      ),
    ),
    error !== undefined && h('p', { role: 'alert', class: 'error' }, error),
    h(
      'div',
      { class: 'two' },
      found !== undefined &&
        h(LongList, {
          key: path,
          label: `${found.length} entries`,
          count: found.length,
          row: at => [
            h('span', { class: 'icon', 'aria-hidden': true }, icons[found[at]!.type] ?? '?'),
            h('bdi', null, shownName(found[at]!.name)),
          ],
          onSelect: setNr,
          onOpen: at => isFolder(found[at]!) && setPath(joined(path, found[at]!.name)),
          onBack: () => setPath(parts.slice(0, -1).join('/')),
        }),
      found?.length === 0 && h('p', null, 'Nothing is in this directory.'),
      entry !== undefined &&
        h(Details, { key: joined(path, entry.name), path: joined(path, entry.name), name: entry.name }),
    ),
  );
}

const PREVIEW_BYTES = 64 * 1024;
const DOWNLOAD_BYTES_MAX = 1024 ** 3;
const PIECE_BYTES = 4 << 20;

function Details({ path, name }: { path: string; name: string }) {
  const { found, error } = useAnswer(`stat ${path}`, () => ask('stat', { path }));
  const [state, setState] = useState('');
  if (error !== undefined) return h('p', { role: 'alert', class: 'error' }, error);
  if (found === undefined) return h('div', { class: 'details' });
  const facts: [string, string][] = [
    ['Type', found.type],
    ['Size', `${sizeText(found.sizeBytes)} (${found.sizeBytes} bytes)`],
    ['Takes', sizeText(found.blocks * 512n)],
    ['Mode', modeText(found.mode)],
    ['Owner', `${found.uid}:${found.gid}`],
    ['Names', `${found.nlink}`],
    ['Changed', timeText(found.mtimeNs)],
    ['Inode', `${found.ino} in subvolume ${found.subvolume}`],
  ];
  if (found.target !== undefined) facts.push(['Leads to', shownName(found.target)]);
  const download = async () => {
    try {
      const parts: BlobPart[] = [];
      const size = Number(found.sizeBytes);
      for (let from = 0; from < size; from += PIECE_BYTES) {
        setState(`${Math.floor((from / size) * 100)} %`);
        parts.push((await ask('read', { path, from, to: Math.min(size, from + PIECE_BYTES) })) as BlobPart);
      }
      const address = URL.createObjectURL(new Blob(parts, { type: 'application/octet-stream' }));
      const link = document.createElement('a');
      link.href = address;
      link.download = shownName(name);
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      setState('done');
    } catch (thrown) {
      setState(messageOf(thrown));
    }
  };
  const isTooLarge = found.sizeBytes > DOWNLOAD_BYTES_MAX;
  return h(
    'div',
    { class: 'details' },
    h('h2', null, h('bdi', null, shownName(name))),
    h(Facts, { facts }),
    found.type === 'reg' &&
      h(
        'p',
        null,
        h('button', { type: 'button', disabled: isTooLarge, onClick: () => void download() }, 'Download'),
        ' ',
        h('span', { role: 'status' }, isTooLarge ? 'Larger than 1 GiB: use bcachefs get.' : state),
      ),
    found.type === 'reg' && found.sizeBytes > 0n && h(Preview, { path, size: Number(found.sizeBytes) }),
  );
}

function Preview({ path, size }: { path: string; size: number }) {
  const to = Math.min(size, PREVIEW_BYTES);
  const { found, error } = useAnswer(`preview ${path}`, () => ask('read', { path, from: 0, to }));
  if (error !== undefined) return h('p', { role: 'alert', class: 'error' }, error);
  if (found === undefined) return null;
  const text = textOfFile(found, to < size);
  return h(
    'figure',
    null,
    h('figcaption', null, `${text === undefined ? 'Bytes' : 'Text'}${to < size ? `, the first ${sizeText(to)}` : ''}`),
    h('pre', { tabIndex: 0 }, text ?? hexText(found.subarray(0, 4096))),
  );
}

const Facts = ({ facts }: { facts: readonly (readonly [string, string])[] }) =>
  h(
    'dl',
    null,
    facts.map(([name, value]) => [h('dt', null, name), h('dd', null, h('bdi', null, value))]),
  );

function Table({
  caption,
  head,
  rows,
}: {
  caption: string;
  head: readonly string[];
  rows: readonly (readonly ComponentChild[])[];
}) {
  return h(
    'table',
    null,
    h('caption', null, caption),
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        head.map(each => h('th', { scope: 'col' }, each)),
      ),
    ),
    h(
      'tbody',
      null,
      rows.map((row, nr) =>
        h(
          'tr',
          { key: nr },
          row.map(cell => h('td', null, h('bdi', null, cell))),
        ),
      ),
    ),
  );
}

function OverviewPage({ openPath }: { openPath: (path: string) => void }) {
  const { found, error } = useAnswer('overview', () => ask('overview', {}));
  if (error !== undefined) return h('p', { role: 'alert', class: 'error' }, error);
  if (found === undefined) return h('p', { role: 'status' }, 'Reading …');
  const { summary, usage, subvolumes, damages }: Overview = found;
  const facts: [string, string][] = [
    ['Label', shownName(summary.label) || 'none'],
    ['UUID', summary.uuid],
    ['Version', `${summary.version} (oldest ${summary.versionMin})`],
    ['State', summary.isClean ? 'unmounted' : 'not unmounted: seen with what its journal says'],
    ['Encrypted', summary.isEncrypted ? 'yes' : 'no'],
    ['Block', sizeText(summary.blockBytes)],
    ['Btree node', sizeText(summary.btreeNodeBytes)],
    ['Used', `${sizeText(usage.usedBytes)} of ${sizeText(usage.capacityBytes)}`],
    ['Inodes', `${usage.inodes}`],
  ];
  const members = summary.members.map(({ index, name, label, state, sizeBytes, bucketBytes }) => [
    `${index}`,
    name === undefined ? 'missing' : shownName(name.slice(name.lastIndexOf('/') + 1)),
    shownName(label ?? ''),
    state ?? '',
    sizeText(sizeBytes),
    sizeText(bucketBytes),
  ]);
  const volumes = subvolumes.map(({ id, path, kind }) => [
    `${id}`,
    path === undefined
      ? 'no directory leads to it'
      : h('button', { type: 'button', class: 'plain link', onClick: () => openPath(path) }, `/${shownName(path)}`),
    kind,
  ]);
  return h(
    'section',
    { class: 'overview', 'aria-label': 'Overview' },
    h(Facts, { facts }),
    h(Table, { caption: 'Members', head: ['Nr', 'Device', 'Label', 'State', 'Size', 'Bucket'], rows: members }),
    h(Table, { caption: 'Subvolumes and snapshots', head: ['Nr', 'Path', 'Kind'], rows: volumes }),
    damages.length > 0 &&
      h(
        'div',
        { role: 'alert', class: 'error' },
        h('h2', null, 'Lost'),
        h(
          'ul',
          null,
          damages.map(each => h('li', null, shownName(each))),
        ),
      ),
  );
}

const CELL_PX = 10;
const CELLS = 4096;

/** By light and dark alike; what is free is the colour of the page's lines. */
const colors: Readonly<Record<string, string>> = {
  free: '#8c959f55',
  sb: '#8250df',
  journal: '#1b7c83',
  btree: '#0969da',
  user: '#2da44e',
  cached: '#bf8700',
  parity: '#cf222e',
  stripe: '#4ac26b',
  need_gc_gens: '#57606a',
  need_discard: '#6e7781',
  unstriped: '#57ab5a',
  multiple: '#a40e26',
};
const colorOf = (type: string): string => colors[type] ?? '#e16f24';

function MapPage() {
  const { found, error } = useAnswer('map', () => ask('map', { cells: CELLS }));
  if (error !== undefined) return h('p', { role: 'alert', class: 'error' }, error);
  if (found === undefined) return h('p', { role: 'status' }, 'Reading …');
  return h(
    'section',
    { 'aria-label': 'Buckets' },
    found.map((device, nr) => h(DeviceMap, { key: nr, device })),
  );
}

function DeviceMap({ device }: { device: MapOfDevice }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [at, setAt] = useState(0);
  const columns = Math.min(96, Math.max(1, device.cells.length));
  const cell = device.cells[at];
  useEffect(() => {
    const paint = canvas.current!.getContext('2d')!;
    paint.clearRect(0, 0, canvas.current!.width, canvas.current!.height);
    device.cells.forEach(({ type, fullness }, nr) => {
      const [x, y] = [(nr % columns) * CELL_PX, Math.floor(nr / columns) * CELL_PX];
      paint.fillStyle = colorOf(type);
      // What is little stays to be seen.
      paint.globalAlpha = type === 'free' ? 1 : 0.4 + 0.6 * fullness;
      paint.fillRect(x, y, CELL_PX - 1, CELL_PX - 1);
      if (nr !== at) return;
      paint.globalAlpha = 1;
      paint.strokeStyle = getComputedStyle(document.body).color;
      paint.lineWidth = 2;
      paint.strokeRect(x, y, CELL_PX - 1, CELL_PX - 1);
    });
  }, [device, at]);
  const go = (nr: number) => setAt(Math.max(0, Math.min(device.cells.length - 1, nr)));
  const steps: Readonly<Record<string, number>> = {
    ArrowRight: 1,
    ArrowLeft: -1,
    ArrowDown: columns,
    ArrowUp: -columns,
  };
  const text =
    cell === undefined
      ? 'no buckets'
      : `bucket ${cell.firstBucket}${cell.buckets > 1 ? ` to ${cell.firstBucket + cell.buckets - 1}` : ''}: ${cell.type}, ${Math.round(cell.fullness * 100)} % full`;
  const name = `${shownName(device.name.slice(device.name.lastIndexOf('/') + 1))}${device.label === '' ? '' : ` (${shownName(device.label)})`}`;
  const totals = device.totals.map(({ type, buckets, bytes, spareBytes }) => [
    [h('span', { class: 'swatch', style: { background: colorOf(type) }, 'aria-hidden': true }), type],
    `${buckets}`,
    bytes === 0 ? '' : sizeText(bytes),
    spareBytes === 0 ? '' : sizeText(spareBytes),
  ]);
  return h(
    'article',
    { class: 'map' },
    h('h2', null, h('bdi', null, name)),
    device.lost.map(each => h('p', { role: 'alert', class: 'error' }, shownName(each))),
    h('canvas', {
      ref: canvas,
      width: columns * CELL_PX,
      height: Math.ceil(device.cells.length / columns) * CELL_PX,
      tabIndex: 0,
      role: 'slider',
      'aria-label': `Buckets of ${name}`,
      'aria-valuemin': 0,
      'aria-valuemax': Math.max(0, device.cells.length - 1),
      'aria-valuenow': at,
      'aria-valuetext': text,
      onMouseMove: (event: MouseEvent) =>
        go(Math.floor(event.offsetY / CELL_PX) * columns + Math.min(columns - 1, Math.floor(event.offsetX / CELL_PX))),
      onKeyDown: (event: KeyboardEvent) => {
        const step = steps[event.key];
        if (step === undefined) return;
        event.preventDefault();
        go(at + step);
      },
    }),
    h('p', { class: 'cell' }, text),
    h(Table, {
      caption: `Buckets of ${sizeText(device.bucketBytes)}`,
      head: ['Data', 'Buckets', 'Holds', 'Left over'],
      rows: totals,
    }),
  );
}

const views = { files: 'Files', overview: 'Overview', map: 'Buckets' } as const;
type View = keyof typeof views;

function Page() {
  const [sources, setSources] = useState<readonly Source[]>([]);
  const [degraded, setDegraded] = useState(false);
  const [opened, setOpened] = useState<Answers['open']>();
  const [error, setError] = useState<AnswerError>();
  const [view, setView] = useState<View>('files');
  const [path, setPath] = useState('');

  const open = useCallback(async (what: readonly Source[], isDegraded: boolean, passphrase?: string) => {
    setSources(what);
    setDegraded(isDegraded);
    try {
      const answer = await ask('open', {
        sources: what,
        degraded: isDegraded,
        ...(passphrase === undefined ? {} : { passphrase }),
      });
      setError(undefined);
      setPath('');
      setOpened(answer);
      document.title = `${shownName(answer.label) || answer.uuid} – bcachefs`;
    } catch (thrown) {
      setOpened(undefined);
      setError(thrown instanceof AnswerError ? thrown : new AnswerError({ message: messageOf(thrown) }));
    }
  }, []);
  useEffect(() => {
    if (location.protocol !== 'file:') void served().then(found => found && open(found.sources, found.degraded));
  }, []);
  const take = (files: FileList | null | undefined) => {
    if (files !== null && files !== undefined && files.length > 0) void open([...files], false);
  };
  const code = error?.code;
  const needsPassphrase = code === 'passphrase_needed' || code === 'wrong_passphrase';
  return h(
    'div',
    {
      class: 'page',
      onDragOver: (event: DragEvent) => event.preventDefault(),
      onDrop: (event: DragEvent) => {
        event.preventDefault();
        take(event.dataTransfer?.files);
      },
    },
    h(
      'header',
      null,
      h('h1', null, h('bdi', null, opened === undefined ? 'bcachefs' : shownName(opened.label) || opened.uuid)),
      opened !== undefined &&
        h(
          'nav',
          { 'aria-label': 'Views' },
          (Object.keys(views) as View[]).map(each =>
            h(
              'button',
              {
                type: 'button',
                class: 'plain',
                key: each,
                'aria-current': each === view ? 'page' : undefined,
                onClick: () => setView(each),
              },
              views[each],
            ),
          ),
        ),
    ),
    h(
      'main',
      null,
      error !== undefined && h('p', { role: 'alert', class: 'error' }, shownName(error.message)),
      needsPassphrase && h(Passphrase, { onGiven: word => void open(sources, degraded, word) }),
      code === 'member_missing' &&
        h(
          'p',
          null,
          h(
            'button',
            { type: 'button', onClick: () => void open(sources, true) },
            'Open it without the missing members',
          ),
        ),
      opened === undefined &&
        h(
          'p',
          { class: 'drop' },
          h(
            'label',
            null,
            'Drop the images of a filesystem here, all members at once, or choose them: ',
            h('input', {
              type: 'file',
              multiple: true,
              onChange: (event: Event) => take((event.target as HTMLInputElement).files),
            }),
          ),
          h('br', null),
          'Nothing leaves this page, and nothing is written.',
        ),
      opened !== undefined && view === 'files' && h(Files, { path, setPath }),
      opened !== undefined &&
        view === 'overview' &&
        h(OverviewPage, {
          openPath: where => {
            setPath(where);
            setView('files');
          },
        }),
      opened !== undefined && view === 'map' && h(MapPage, null),
    ),
  );
}

function Passphrase({ onGiven }: { onGiven: (word: string) => void }) {
  const field = useRef<HTMLInputElement>(null);
  return h(
    'form',
    {
      onSubmit: (event: Event) => {
        event.preventDefault();
        onGiven(field.current!.value);
      },
    },
    h('label', null, 'Passphrase ', h('input', { ref: field, type: 'password', autocomplete: 'off' })),
    ' ',
    h('button', { type: 'submit' }, 'Open'),
  );
}

/** What a server of `bcachefs view` has for this page; undefined on any other. */
async function served(): Promise<{ sources: Source[]; degraded: boolean } | undefined> {
  const response = await fetch('devices.json');
  if (!response.ok) return undefined;
  const { names, degraded } = (await response.json()) as { names: string[]; degraded: boolean };
  const sources = names.map((name, nr) => ({ name, address: new URL(`device/${nr}`, location.href).href }));
  return { sources, degraded };
}

render(h(Page, null), document.getElementById('page')!);
