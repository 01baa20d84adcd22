// Makes a component of a JavaScript module. Arguments: module, folder of the WIT, world, file to write.
import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [source, wit, world, output] = process.argv.slice(2);

try {
  const { component } = await componentize({ sourcePath: source, witPath: wit, worldName: world });
  await writeFile(output, component);
} catch (error) {
  console.error(error?.message ?? error);
  process.exit(1);
}
