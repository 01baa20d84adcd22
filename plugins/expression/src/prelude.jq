# What expressions can call besides the functions that Rust provides. One definition a line, each after those that it
# uses: an expression takes along only the definitions that it names, and those that these name.

# Constants, conditions, errors
def null: [][0];
def true: 1 == 1;
def false: 1 == 0;
def not: if . then false else true end;
def empty: [][] as $nothing | .;
def error: error_empty as $nothing | .;
def error($reason): ($reason | error_empty) as $nothing | .;
def select(f): if f then . else empty end;
def debug: log_debug as $logged | .;
def debug(message): (message | log_debug) as $logged | .;

# Kinds of values
def nulls: select(type == "null");
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(type == "array");
def objects: select(type == "object");
def values: select(type != "null");
def iterables: select(type == "array" or type == "object");
def scalars: select(type != "array" and type != "object");

# Conversion
def tostring: if type == "string" then . else tojson end;
def toboolean: if type == "boolean" then . elif . == "true" then true elif . == "false" then false else error("\(tojson) cannot be read as a boolean") end;
def toarray: if type == "array" then . else [.] end;
def abs: if type == "number" and . < 0 then -. else . end;

# Sequences
def isempty(g): [limit(1; g)] == [];
def range($to): range(0; $to; 1);
def range($from; $to): range($from; $to; 1);
def while(condition; update): def step: if condition then ., (update | step) else empty end; step;
def until(condition; update): def step: if condition then . else update | step end; step;
def repeat(f): def step: ., (f | step); step;
def recurse(f): def step: ., (f | step); step;
def recurse: recurse(.[]?);
def recurse(f; condition): recurse(f | select(condition));
def nth($index; g): first(skip($index; g));
def any(g; condition): isempty(g | select(condition)) | not;
def any(condition): any(.[]; condition);
def any: any(.[]; .);
def all(g; condition): isempty(g | select(condition | not));
def all(condition): all(.[]; condition);
def all: all(.[]; .);
def add(g): reduce g as $item (null; . + $item);
def add: add(.[]);

# Arrays and objects
def first: .[0];
def last: .[-1];
def nth($index): .[$index];
def map(f): [.[] | f];
def map_values(f): .[] |= f;
def in(container): . as $key | container | has($key);
def inside(container): . as $part | container | contains($part);
def index($part): indices($part)[0];
def rindex($part): indices($part)[-1];
def keys: keys_unsorted | sort;
def min_by(f): [min_by_or_empty(f)][0];
def max_by(f): [max_by_or_empty(f)][0];
def min: min_by(.);
def max: max_by(.);
def unique_by(f): [group_by(f)[][0]];
def unique: unique_by(.);
def flatten($depth): [.[] | if type == "array" and $depth > 0 then flatten($depth - 1)[] else . end];
def flatten: flatten(infinite);
def transpose: . as $rows | [range([$rows[] | length] | max // 0) as $column | [$rows[][$column]]];
def combinations: if . == [] then . else .[0][] as $head | (.[1:] | combinations) as $tail | [$head] + $tail end;
def combinations($times): [range($times) as $turn | .] | combinations;
def walk(f): if type == "object" then map_values(walk(f)) elif type == "array" then map(walk(f)) else . end | f;
def to_entries: [key_values[] | { key: .[0], value: .[1] }];
def from_entries: reduce .[] as $entry ({}; . + ($entry | { (.key // .k // .name | tostring): (if has("value") then .value else .v end) }));
def with_entries(f): to_entries | map(f) | from_entries;

# Paths
def getpath($path): reduce $path[] as $key (.; .[$key]);
def delpaths($paths): reduce ($paths | sort | reverse[]) as $path (.; getpath($path) |= empty);
def del(f): delpaths([path(f)]);
def paths: path(..) | select(. != []);
def paths(f): path(.. | select(f)) | select(. != []);
def pick(f): . as $whole | reduce path(f) as $path (null; setpath($path; $whole | getpath($path)));

# Text
def join($separator): [.[] | if . == null then "" else tostring end] | reduce .[1:][] as $item (.[0] // ""; . + $separator + $item);
def split($separator): if type == "string" and ($separator | type) == "string" then . / $separator else error("only a string can be split, and only at a string") end;
def match(re; $flags): pieces(re; $flags)[] | objects;
def match(re): match(re; "");
def test(re; $flags): any(match(re; $flags); true);
def test(re): test(re; "");
def named: [.captures[] | select(.name != null) | { key: .name, value: .string }] | from_entries;
def capture(re; $flags): match(re; $flags) | named;
def capture(re): capture(re; "");
def scan(re; $flags): match(re; "g" + $flags) | if .captures == [] then .string else [.captures[].string] end;
def scan(re): scan(re; "");
def split(re; $flags): [pieces(re; "g" + $flags)[] | strings];
def splits(re; $flags): split(re; $flags)[];
def splits(re): splits(re; "");
def sub(re; replacement; $flags): reduce pieces(re; $flags)[] as $piece (""; . + ($piece | if type == "string" then . else named | replacement end));
def sub(re; replacement): sub(re; replacement; "");
def gsub(re; replacement; $flags): sub(re; replacement; "g" + $flags);
def gsub(re; replacement): gsub(re; replacement; "");

# Dates
def todateiso8601: todate;
def fromdateiso8601: fromdate;

# Formats
def @text: tostring;
def @json: tojson;
def @html: tostring | escape_html;
def @uri: tostring | encode_uri;
def @base64: tostring | encode_base64;
def @base64d: tostring | decode_base64;
def @sh: [toarray[] | if type == "string" then "'" + escape_sh + "'" elif type == "array" or type == "object" then error("\(tojson) cannot be quoted for a shell") else tojson end] | join(" ");
def @csv: [.[] | if type == "string" then "\"" + (split("\"") | join("\"\"")) + "\"" elif . == null then "" elif type == "array" or type == "object" then error("\(tojson) cannot be a field of CSV") else tojson end] | join(",");
def @tsv: [.[] | if type == "string" then split("\\") | join("\\\\") | split("\t") | join("\\t") | split("\n") | join("\\n") | split("\r") | join("\\r") elif . == null then "" elif type == "array" or type == "object" then error("\(tojson) cannot be a field of TSV") else tojson end] | join("\t");
