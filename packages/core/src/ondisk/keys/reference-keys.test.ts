// Keys as the kernel wrote them, and their text as the reference printed it: from the reference images, never made anew.
// source: reference. Bytes above 127 in the texts are the names' own, one character each.

import { expect, test } from 'vitest';
import { latin1Text } from '../../util/byte-text.ts';
import { PrintBuffer } from '../../util/print-buffer.ts';
import { Bkey, type Key } from '../bkey.ts';
import { bkeyProblems, keyProblems } from '../bkey-validate.ts';
import { btrees } from '../btrees.ts';
import { viewOf } from '../layout.ts';
import type { Release } from '../releases.ts';
import { keyKind, keyText } from './index.ts';
import { keyTypes } from './key-types.ts';
import type { KeyTextContext } from './kind.ts';

interface ReferenceKey {
  /** The image that it is from. */
  readonly image: string;
  /** Whose text: the tool of 1.36.1 or 1.39.2. */
  readonly style: Release;
  /** Names of the members, `*` for their number, and their bucket size. */
  readonly device?: string;
  readonly bucketSizeSectors?: number;
  /** struct bkey and the value, in hexadecimal. */
  readonly key: string;
  readonly value: string;
  readonly text: string;
}

const referenceKeys: readonly ReferenceKey[] = [
  {
    image: 'basic',
    style: '1.36',
    device: 'basic.img',
    bucketSizeSectors: 256,
    key: '0701060000000000000000000000000008000000ffffffff08000000000000002e10000000000000',
    value: '1e0e00053baf9d0701e8040000000002',
    text: [
      'u64s 7 type extent 4142:8:U32_MAX len 8 ver 0  : durability: 1 ',
      '  crc32: c_size 8 size 8 offset 0 nonce 0 csum crc32c 0:79daf3b  compress none',
      '  ptr: basic.img 0:78:128 gen 2',
    ].join('\n'),
  },
  {
    image: 'csum-crc64',
    style: '1.36',
    device: 'csum-crc64.img',
    bucketSizeSectors: 256,
    key: '0801060000000000000000000000000050000000ffffffff50000000000000000800004000000000',
    value: '7cf2040000060000de016049ccf27e010141030000000000',
    text: [
      'u64s 8 type extent 1073741832:80:U32_MAX len 80 ver 0  : durability: 1 ',
      '  crc64: c_size 80 size 80 offset 0 nonce 0 csum crc64 0:17ef2cc496001de  compress none',
      '  ptr: csum-crc64.img 0:52:16 gen 0',
    ].join('\n'),
  },
  {
    image: 'multi4-tiers',
    style: '1.36',
    device: 'multi4-tiers.dev*.img',
    bucketSizeSectors: 256,
    key: '0a01060000000000000000000000000028000000ffffffff28000000000000000d10000000000000',
    value: '20000000000003019e4e00054aab855c018a02000000010001ea02000000000083dd010000000300',
    text: [
      'u64s 10 type extent 4109:40:U32_MAX len 40 ver 0  : durability: 2 ',
      '  rebalance_v1: replicas=0 checksum=none background_target=hdd',
      '  crc32: c_size 40 size 40 offset 0 nonce 0 csum crc32c 0:5c85ab4a  compress none',
      '  ptr: multi4-tiers.dev1.img 1:40:160 gen 0',
      '  ptr: multi4-tiers.dev0.img 0:46:160 gen 0',
      '  ptr: multi4-tiers.dev3.img 3:29:216 gen 0 d=0 cached',
    ].join('\n'),
  },
  {
    image: 'ec-1.39',
    style: '1.39',
    device: 'ec-1.39.dev*.img',
    bucketSizeSectors: 256,
    key: '0901060000000000000000000000000000010000ffffffff00010000000000000600008000000000',
    value: 'fcf70f00000500009d5ad9330000000010401400000000000160030000000200',
    text: [
      'u64s 9 type extent 2147483654:256:U32_MAX len 256 ver 0  : durability: 3 ',
      '  crc64: c_size 256 size 256 offset 0 nonce 0 csum crc32c 0:33d95a9d  compress none',
      '  stripe_ptr: idx 10 block 0',
      '  ptr: ec-1.39.dev2.img 2:54:0 gen 0',
    ].join('\n'),
  },
  {
    image: 'u136-3dev',
    style: '1.36',
    device: 'u136-3dev.dev*.img',
    bucketSizeSectors: 128,
    key: '0901060000000000000000000000000010000000ffffffff30000000000000002c00008000000000',
    value: '3e1e0005d7cc5a1d0108020000000200808002a000000000010000000000ff00',
    text: [
      'u64s 9 type extent 2147483692:48:U32_MAX len 16 ver 0  : durability: 1 ',
      '  crc32: c_size 16 size 16 offset 0 nonce 0 csum crc32c 0:1d5accd7  compress none',
      '  ptr: u136-3dev.dev2.img 2:65:0 gen 0',
      '  reconcile: need_rb=data_replicas hipri replicas=2 checksum=crc32c',
      '  ptr: 255:0 gen 0',
    ].join('\n'),
  },
  {
    image: 'basic',
    style: '1.36',
    key: '0601070000000000000000000000000048020000ffffffff60020000000000006911000000000000',
    value: '0000000001000000',
    text: 'u64s 6 type reservation 4457:608:U32_MAX len 584 ver 0  : generation 0 replicas 1',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '11011d0000000000000000000000000000000000ffffffff00100000000000000000000000000000',
    value: [
      '19000000000000009305fdfdd8dafe9c00003016d31e0400000000000000000000000000000000000000000000000000',
      '2fe02a622f006fa6a1013b006fa6a1013b002fe02a622f00000014000000000000000000000000000002000000000000',
    ].join(''),
    text: [
      'u64s 17 type inode_v3 0:4096:U32_MAX len 0 ver 0  : ',
      '  mode=40755 (dir)',
      '  flags=(16300000)',
      '  journal_seq=25',
      '  hash_seed=9cfedad8fdfd0593',
      '  hash_type=siphash',
      '  bi_size=0',
      '  bi_sectors=0',
      '  bi_version=0',
      '  bi_atime=6359701249',
      '  bi_ctime=7919701299',
      '  bi_mtime=7919701299',
      '  bi_otime=6359701249',
      '  bi_uid=0',
      '  bi_gid=0',
      '  bi_nlink=10',
      '  bi_generation=0',
      '  bi_dev=0',
      '  bi_data_checksum=0',
      '  bi_compression=0',
      '  bi_project=0',
      '  bi_background_compression=0',
      '  bi_data_replicas=0',
      '  bi_promote_target=0',
      '  bi_foreground_target=0',
      '  bi_background_target=0',
      '  bi_erasure_code=0',
      '  bi_fields_set=0',
      '  bi_dir=0',
      '  bi_dir_offset=0',
      '  bi_subvol=1',
      '  bi_parent_subvol=0',
      '  bi_nocow=0',
      '  bi_depth=0',
      '  bi_inodes_32bit=0',
      '  bi_casefold=0',
      '',
    ].join('\n'),
  },
  {
    image: 'basic',
    style: '1.36',
    key: '12011d0000000000000000000000000000000000ffffffff73110000000000000000000000000000',
    value: [
      '190000000000000072bc2cc376b4ce5200003015031a0600000000000000000000000000000000000000000000000000',
      '0f86e5423a000f86e5423a000f86e5423a000f86e5423a000000000017010008000000000000000000001d45ffd25abf',
      '7383cde716000000',
    ].join(''),
    text: [
      'u64s 18 type inode_v3 0:4467:U32_MAX len 0 ver 0  : ',
      '  mode=60640 (blk)',
      '  flags=(15300000)',
      '  journal_seq=25',
      '  hash_seed=52ceb476c32cbc72',
      '  hash_type=siphash',
      '  bi_size=0',
      '  bi_sectors=0',
      '  bi_version=0',
      '  bi_atime=7819701296',
      '  bi_ctime=7819701296',
      '  bi_mtime=7819701296',
      '  bi_otime=7819701296',
      '  bi_uid=0',
      '  bi_gid=0',
      '  bi_nlink=0',
      '  bi_generation=0',
      '  bi_dev=8388625',
      '  bi_data_checksum=0',
      '  bi_compression=0',
      '  bi_project=0',
      '  bi_background_compression=0',
      '  bi_data_replicas=0',
      '  bi_promote_target=0',
      '  bi_foreground_target=0',
      '  bi_background_target=0',
      '  bi_erasure_code=0',
      '  bi_fields_set=0',
      '  bi_dir=4423',
      '  bi_dir_offset=1650513752920906450',
      '  bi_subvol=0',
      '  bi_parent_subvol=0',
      '  bi_nocow=0',
      '  bi_depth=0',
      '  bi_inodes_32bit=0',
      '  bi_casefold=0',
      '',
    ].join('\n'),
  },
  {
    image: 'dmg-alloc',
    style: '1.36',
    key: '12011d0000000000000000000000000000000000feffffff32000040000000000000000000000000',
    value: [
      '1700000000000000b5a19737be0d92a400023017d31e0400000000000000000000000000000000000000000000000000',
      '6fef2acc38008faff1f938008faff1f938006fef2acc38000000000000000000000000000000000140ffabf1a3bcb396',
      'd306040200000000',
    ].join(''),
    text: [
      'u64s 18 type inode_v3 0:1073741874:4294967294 len 0 ver 0  : ',
      '  mode=40755 (dir)',
      '  flags=has_child_snapshot(17300200)',
      '  journal_seq=23',
      '  hash_seed=a4920dbe3797a1b5',
      '  hash_type=siphash',
      '  bi_size=0',
      '  bi_sectors=0',
      '  bi_version=0',
      '  bi_atime=7623235451',
      '  bi_ctime=7647235452',
      '  bi_mtime=7647235452',
      '  bi_otime=7623235451',
      '  bi_uid=0',
      '  bi_gid=0',
      '  bi_nlink=0',
      '  bi_generation=0',
      '  bi_dev=0',
      '  bi_data_checksum=0',
      '  bi_compression=0',
      '  bi_project=0',
      '  bi_background_compression=0',
      '  bi_data_replicas=0',
      '  bi_promote_target=0',
      '  bi_foreground_target=0',
      '  bi_background_target=0',
      '  bi_erasure_code=0',
      '  bi_fields_set=0',
      '  bi_dir=4096',
      '  bi_dir_offset=491902483021689259',
      '  bi_subvol=2',
      '  bi_parent_subvol=1',
      '  bi_nocow=0',
      '  bi_depth=0',
      '  bi_inodes_32bit=0',
      '  bi_casefold=0',
      '',
    ].join('\n'),
  },
  {
    image: 'misc-1.39',
    style: '1.39',
    key: '13011d0000000000000000000000000000000000ffffffff02100000000000000000000000000000',
    value: [
      '1a00000000000000a3ad14cb66d8ce120014101bd31e0400000000000000000000000000000000000000000000000000',
      '6f54b4dd75004f9dfe9268004f9dfe9268000f1f20126600000002000000000000000000000001200140ff5ba75eeccc',
      'aac76400000002000400000000000000',
    ].join(''),
    text: [
      'u64s 19 type inode_v3 0:4098:U32_MAX len 0 ver 0  : ',
      '  mode=40755 (dir)',
      '  flags=has_case_insensitive,has_inode_opts(1b101400)',
      '  journal_seq=26',
      '  hash_seed=12ced866cb14ada3',
      '  hash_type=crc64',
      '  bi_size=0',
      '  bi_sectors=0',
      '  bi_version=0',
      '  bi_atime=15819711139',
      '  bi_ctime=14035711210',
      '  bi_mtime=14035711210',
      '  bi_otime=13699711224',
      '  bi_uid=0',
      '  bi_gid=0',
      '  bi_nlink=1',
      '  bi_generation=0',
      '  bi_dev=0',
      '  bi_data_checksum=0',
      '  bi_compression=0',
      '  bi_project=0',
      '  bi_background_compression=0',
      '  bi_data_replicas=0',
      '  bi_promote_target=0',
      '  bi_foreground_target=0',
      '  bi_background_target=0',
      '  bi_erasure_code=0',
      '  bi_fields_set=2048',
      '  bi_dir=4096',
      '  bi_dir_offset=7261960721273890651',
      '  bi_subvol=0',
      '  bi_parent_subvol=0',
      '  bi_nocow=0',
      '  bi_depth=1',
      '  bi_inodes_32bit=0',
      '  bi_casefold=2',
      '  bi_unused_ec_max_data_blocks=0',
      '',
    ].join('\n'),
  },
  {
    image: 'basic',
    style: '1.36',
    key: '0601090000000000000000000000000000000000ffffffffb9110000000000000000000000000000',
    value: '0100000000000000',
    text: 'u64s 6 type inode_generation 0:4537:U32_MAX len 0 ver 0  : generation: 1',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '07010a0000000000000000000000000000000000fffffffff9b020abf19c34010010000000000000',
    value: '4711000000000000047370656369616c',
    text: 'u64s 7 type dirent 4096:86866854598979833:U32_MAX len 0 ver 0  : special -> 4423 type dir',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '08010a0000000000000000000000000000000000ffffffffd65ffc2352ce30047611000000000000',
    value: '861100000000000008fffe20726177206279746573000000',
    text: 'u64s 8 type dirent 4470:301968027220205526:U32_MAX len 0 ver 0  : \xff\xfe raw bytes -> 4486 type reg',
  },
  {
    image: 'basic-1.39',
    style: '1.39',
    key: '08010a0000000000000000000000000000000000ffffffff299b60728e398e2b1e00000000000020',
    value: '2000000000000020086e65770a6c696e6500000000000000',
    text: [
      'u64s 8 type dirent 2305843009213693982:3138509274290887465:U32_MAX len 0 ver 0  : new',
      'line -> 2305843009213693984 type reg',
    ].join('\n'),
  },
  {
    image: 'dmg-alloc',
    style: '1.36',
    key: '07010a0000000000000000000000000000000000ffffffffabf1a3bcb396d3060010000000000000',
    value: '02000000010000001073760000000000',
    text: 'u64s 7 type dirent 4096:491902483021689259:U32_MAX len 0 ver 0  : sv -> 1 -> 2 type subvol',
  },
  {
    image: 'misc-1.39',
    style: '1.39',
    key: '0a010a0000000000000000000000000000000000ffffffff40f2cde743728c000210000000000000',
    value: '03100000000000008800000900090048656c6c6f2e54585468656c6c6f2e74787400000000000000',
    text: 'u64s 10 type dirent 4098:39532132716900928:U32_MAX len 0 ver 0  : Hello.TXT (casefold hello.txt) -> 4099 type reg',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '07010b0000000000000000000000000000000000ffffffffb0b148a30d29be3c6f11000000000000',
    value: '030603006f6e6c696e6b796573000000',
    text: 'u64s 7 type xattr 4463:4376981026401464752:U32_MAX len 0 ver 0  : trusted.onlink:yes',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '07010b0000000000000000000000000000000000ffffffffc76ee28f8fd44f08a511000000000000',
    value: '000308006469726f6e20612064697200',
    text: 'u64s 7 type xattr 4517:598930988522958535:U32_MAX len 0 ver 0  : user.dir:on a dir',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '0a010b0000000000000000000000000000000000ffffffffd0a8bfd958666816ac11000000000000',
    value: '01002400010000000100070002000500e90300000400050008000400d20700001000070020000000',
    text: 'u64s 10 type xattr 4524:1614652998208694480:U32_MAX len 0 ver 0  : (type 1):\x01 user_obj 7 user uid 1001 5 group_obj 5 group gid 2002 4 mask 7 other 0',
  },
  {
    image: 'basic-1.39',
    style: '1.39',
    key: '07010b0000000000000000000000000000000000ffffffffc12d47d870bb6b0a1400000000000020',
    value: '00050000656d70747900000000000000',
    text: 'u64s 7 type xattr 2305843009213693972:750899856226594241:U32_MAX len 0 ver 0  : user.empty:',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '0501190000000000000000000000000000000000000000004a00000000000000000000040000ffff',
    value: '',
    text: 'u64s 5 type set 18446462598799949824:74:0 len 0 ver 0',
  },
  {
    image: 'nocow',
    style: '1.36',
    key: '0501010000000000000000000000000000000000fdfffffff0000000000000002d00004000000000',
    value: '',
    text: 'u64s 5 type whiteout 1073741869:240:4294967293 len 0 ver 0',
  },
  {
    image: 'fresh-136',
    style: '1.36',
    key: '07012300000000000000000000000000000000000000000000000000000000000100000000000000',
    value: '00000000000000000100008000000000',
    text: 'u64s 7 type inode_alloc_cursor 1:0:0 len 0 ver 0  : idx 2147483649 generation 0',
  },
  {
    image: 'basic-1.39',
    style: '1.39',
    key: '07012300000000000000000000000000000000000000000001000000000000000100000000000000',
    value: '02000000000000004b00008000000000',
    text: 'u64s 7 type inode_alloc_cursor 1:1:0 len 0 ver 0  : min 2147483648 max 2305843009213693951 consumed 75 idx 2147483723 generation 0',
  },
  {
    image: 'dmg-alloc',
    style: '1.36',
    key: '07010f0000000000000000000000000070000000ffffffff70000000000000000f10000000000000',
    value: '00000000000000000000000000000000',
    text: 'u64s 7 type reflink_p 4111:112:U32_MAX len 112 ver 0  : idx 0 front_pad 0 back_pad 0',
  },
  {
    image: 'ec-1.39',
    style: '1.39',
    key: '07010f00000000000000000000000000e8000000ffffffffe8000000000000000500008000000000',
    value: '00000000000000020000000000000000',
    text: 'u64s 7 type reflink_p 2147483653:232:U32_MAX len 232 ver 0  : idx 0 front_pad 0 back_pad 0 may_update_opts',
  },
  {
    image: 'dmg-alloc',
    style: '1.36',
    device: 'dmg-alloc.img',
    bucketSizeSectors: 256,
    key: '08011000000000000000000000000000700000000000000070000000000000000000000000000000',
    value: '0300000000000000bedf0005049d93ac0149030000000000',
    text: [
      'u64s 8 type reflink_v 0:112:0 len 112 ver 0  : refcount: 3 durability: 1 ',
      '  crc32: c_size 112 size 112 offset 0 nonce 0 csum crc32c 0:ac939d04  compress none',
      '  ptr: dmg-alloc.img 0:52:144 gen 0',
    ].join('\n'),
  },
  {
    image: 'reflink',
    style: '1.36',
    key: '1f011300000000000000000000000000080000000000000080030000000000000000000000000000',
    value: [
      '0200000000000000697420706f696e7465720a71756f7461206d656d626572206e6f6465207969656c64206120666f72',
      '0a6f6e2069732074686973206e6f6465206275636b65742078617474722074686174206974206275636b6574206e6f74',
      '20616c706861207a6f6e65207861747472207769746820736e617073686f74206c656166206a6f75726e616c0a776974',
      '6820746f20696e6f646520657874656e74207265706c6963612061732077697468206861736820747265652069732069',
      '6e6f646520627920696e206d656d6265',
    ].join(''),
    text: 'u64s 31 type indirect_inline_data 0:896:0 len 8 ver 0  : refcount 2 datalen 200: 697420706f696e7465720a71756f7461206d656d626572206e6f646520796965',
  },
  {
    image: 'basic',
    style: '1.36',
    key: '0801110000000000000000000000000008000000ffffffff08000000000000005110000000000000',
    value: '5b3030303030303030303030306134333320706100000000',
    text: 'u64s 8 type inline_data 4177:8:U32_MAX len 8 ver 0  : datalen 24: 5b3030303030303030303030306134333320706100000000',
  },
];

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], pair => Number.parseInt(pair, 16));

function keyOf({ key, value }: ReferenceKey): Key {
  return { k: Bkey.get(viewOf(bytesOf(key)), 0), value: bytesOf(value) };
}

function contextOf({ style, device, bucketSizeSectors = 0 }: ReferenceKey): KeyTextContext {
  return {
    style,
    bytesText: latin1Text,
    shardInodeNumbersBits: 2,
    device(index) {
      if (index > 4) return undefined;
      // The fourth member of multi4-tiers is a cache.
      const durability = device?.startsWith('multi4-tiers') && index === 3 ? 0 : 1;
      const name = device?.replace('*', `${index}`) ?? '';
      return { name, isOnline: true, bucketSizeSectors, durability, isEvacuating: false };
    },
    label: group => (group === 2 ? 'hdd' : `label ${group}`),
  };
}

const cases = referenceKeys.map(reference => [reference.text.split(' ver ')[0]!, reference] as const);

test.each(cases)('%s', (_name, reference) => {
  const key = keyOf(reference);
  const out = new PrintBuffer();
  keyText(out, key, contextOf(reference));
  expect(out.toString()).toBe(reference.text);

  const { strictBtree } = keyTypes.byId(key.k.type)!;
  const btree = btrees.rows.find(row => (row.keys as readonly string[]).includes(keyTypes.nameOf(key.k.type)))!.id;
  // `set` and the whiteouts live in many btrees.
  if (strictBtree) expect(bkeyProblems(key.k, { btree, level: 0 })).toEqual([]);
  const device = () => ({ bucketSizeSectors: reference.bucketSizeSectors ?? 0, firstBucket: 1, bucketCount: 4096 });
  if (strictBtree) expect(keyProblems(key, { btree, level: 0 }, { device, writing: true })).toEqual([]);

  const kind = keyKind(key.k.type)!;
  expect(kind.encode(kind.decode(key.value))).toEqual(key.value);
});
