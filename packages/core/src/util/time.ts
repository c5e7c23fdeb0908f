// Times and durations for people.

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Mon Nov  2 14:47:33 2026`: the local time, as ctime(3) writes it. */
export function dateTimeText(secondsSince1970: number | bigint): string {
  const date = new Date(Number(secondsSince1970) * 1000);
  if (Number.isNaN(date.getTime())) return `(time out of range: ${secondsSince1970})`;
  const two = (value: number) => `${value}`.padStart(2, '0');
  const day = `${DAYS[date.getDay()]} ${MONTHS[date.getMonth()]} ${`${date.getDate()}`.padStart(2)}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${date.getFullYear()}`;
}

const DURATION_UNITS = [
  { name: 'y', seconds: 365.25 * 24 * 3600 },
  { name: 'w', seconds: 7 * 24 * 3600 },
  { name: 'd', seconds: 24 * 3600 },
  { name: 'h', seconds: 3600 },
  { name: 'm', seconds: 60 },
  { name: 's', seconds: 1 },
] as const;

/**
 * `90 s`, `2 h`: whole units of the largest kind of which there are at least two. Mirrors bch2_pr_time_units, whose year is seven
 * years long by mistake; ours is not.
 */
export function durationText(seconds: number): string {
  if (seconds < 2) return seconds === 1 ? '1000 ms' : '0 ns';
  const unit = DURATION_UNITS.find(candidate => seconds >= 2 * candidate.seconds)!;
  return `${Math.floor(seconds / unit.seconds)} ${unit.name}`;
}
