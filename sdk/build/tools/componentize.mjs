// Makes a component of a JavaScript module. Arguments: engine, module, folder of the WIT, world, file to write.
import { readFile, writeFile } from 'node:fs/promises';

const [engine, source, wit, world, output] = process.argv.slice(2);

const engines = {
  async starlingmonkey() {
    const { componentize } = await import('@bytecodealliance/componentize-js');
    return componentize({ sourcePath: source, witPath: wit, worldName: world });
  },
  async quickjs() {
    const { componentize } = await import('componentize-qjs');
    return componentize({ jsSource: await readFile(source, 'utf8'), jsPath: source, witPath: wit, world });
  },
};

try {
  const { component } = await engines[engine]();
  await writeFile(output, component);
} catch (error) {
  console.error(error?.message ?? error);
  process.exit(1);
}
