// Bytes as text.

/** `00ff10`, two lower-case digits a byte. */
export function toHex(source: Uint8Array): string {
  let hex = '';
  for (const byte of source) hex += byte.toString(16).padStart(2, '0');
  return hex;
}
