// What every package carries beside its code, put there when it is packed (npm runs this as `prepack`, in the package's folder): the licence.
// Programs also have the notices of what they contain, which the build writes.

import { copyFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
if (!existsSync('dist/index.js')) {
  process.stderr.write('there is no dist/index.js to pack: run npm run build\n');
  process.exit(1);
}
copyFileSync(join(root, 'LICENSE'), 'LICENSE');
