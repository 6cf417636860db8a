"""What two readers say of one image: the JSON of `read_image.py list --json` and the lines of
`imgtool info --json --chunks`. And that META's result (docs/image-format-v2.md, 8) is what the
tables say.

    same_facts.py LIST INFO
"""
import json
import sys

KINDS = ('data', 'zero', 'free', 'bad')


def same(what, ours, theirs):
    if json.dumps(ours, sort_keys=True) != json.dumps(theirs, sort_keys=True):
        sys.exit(f'{what}: the script has {ours}, imgtool {theirs}')


def chunk_facts(chunk):
    """As imgtool says them, from the script's."""
    return {'chunk': chunk['number'], 'offset': chunk['offset'], 'length': chunk['length'],
            'bad_ranges': len(chunk['bad_ranges']),
            'stored_bytes': chunk['table'] - chunk['position'] - 96,
            **{f'{kind}_bytes': chunk['entries'][kind] for kind in KINDS}}


def main(list_path, info_path):
    with open(list_path, encoding='utf-8') as file:
        listed = json.load(file)
    with open(info_path, encoding='utf-8') as file:
        info, *chunks = [json.loads(line) for line in file]
    for name in ('root', 'source_bytes', 'block_bytes', 'chunk_bytes', 'hash', 'file_bytes',
                 'map_digest', 'bad_range_bytes', 'bad_ranges'):
        same(name, listed[name], info[name])
    same('UUID', listed['uuid'], info['uuid'].replace('-', ''))
    same('header', listed['header'], info['head'])
    for kind in KINDS:
        same(kind, listed[kind], info[f'{kind}_bytes'])
    ours = [chunk_facts(chunk) for chunk in listed['chunks']]
    same('chunks', ours, [{k: chunk[k] for k in mine} for mine, chunk in zip(ours, chunks)])
    same('number of chunks', len(ours), len(chunks))
    bad = listed['bad_ranges']
    result = {**{f'{kind}_bytes': listed[kind] for kind in KINDS},
              'stored_bytes': sum(chunk['stored_bytes'] for chunk in ours), 'chunks': len(ours),
              'frames': info['frames'], 'bad_ranges': bad[:10000], 'bad_range_count': len(bad),
              'bad_range_bytes': sum(length for _, length in bad)}
    same('result of META', {k: listed['result'].get(k) for k in result}, result)


main(*sys.argv[1:])
