# Reads an archive with Python's own tarfile and prints one JSON object for each member: an opinion that is not ours. Data is hashed
# as the manifests of the reference images do it: all of a file up to 4 GiB, above that each data segment after its offset and length.
import base64, hashlib, json, struct, sys, tarfile

def raw(text):
    return text.encode('utf-8', 'surrogateescape')

def b64(text):
    return base64.b64encode(raw(text)).decode()

types = {tarfile.REGTYPE: 'reg', tarfile.LNKTYPE: 'link', tarfile.SYMTYPE: 'lnk', tarfile.CHRTYPE: 'chr', tarfile.BLKTYPE: 'blk',
         tarfile.DIRTYPE: 'dir', tarfile.FIFOTYPE: 'fifo', tarfile.GNUTYPE_SPARSE: 'reg'}
with tarfile.open(sys.argv[1], 'r:') as archive:
    for member in archive:
        pax = member.pax_headers
        said = {'path_b64': b64(member.name), 'type': types[member.type], 'mode': member.mode, 'uid': member.uid, 'gid': member.gid,
                'size': member.size, 'mtime': pax.get('mtime', str(member.mtime)), 'btime': pax.get('LIBARCHIVE.creationtime'),
                'target_b64': b64(member.linkname), 'rdev': [member.devmajor, member.devminor],
                'sparse': member.sparse if member.sparse is None else [list(one) for one in member.sparse],
                'xattrs': {key[len('SCHILY.xattr.'):]: b64(value) for key, value in pax.items() if key.startswith('SCHILY.xattr.')},
                'acls': {key[len('SCHILY.acl.'):]: value for key, value in pax.items() if key.startswith('SCHILY.acl.')}}
        if said['type'] == 'reg':
            stream = archive.extractfile(member)
            digest = hashlib.sha256()
            if member.size > 4 << 30:
                for offset, length in [one for one in member.sparse or [] if one[1] > 0]:
                    digest.update(struct.pack('<QQ', offset, length))
                    stream.seek(offset)
                    digest.update(stream.read(length))
                said['sha256_data'] = digest.hexdigest()
            else:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
                said['sha256'] = digest.hexdigest()
        print(json.dumps(said))
