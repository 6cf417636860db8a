"""Compare a file system with what was restored from its image, block by block.

  compare_blocks.py ext SOURCE RESTORED
  compare_blocks.py ntfs SOURCE RESTORED

Which blocks are in use is asked of dumpe2fs and ntfscat ($Bitmap): tools that nobody here wrote. Used
blocks must be equal, free ones zero in the restored file. Prints `used=N free=N`.
"""
import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def free_of_ext(path):
    """Block size and the set of free blocks, from dumpe2fs."""
    text = output("dumpe2fs", path).decode("utf-8", "replace")
    size = int(re.search(r"^Block size:\s+(\d+)", text, re.M).group(1))
    free = set()
    for line in re.findall(r"^  Free blocks: (.*)$", text, re.M):
        for part in filter(None, line.replace(" ", "").split(",")):
            first, _, last = part.partition("-")
            free.update(range(int(first), int(last or first) + 1))
    count = int(re.search(r"^Free blocks:\s+(\d+)", text, re.M).group(1))
    assert len(free) == count, (len(free), count)
    return size, free


def free_of_ntfs(path):
    """Cluster size and the set of free clusters, from $Bitmap (file record 6)."""
    with open(path, "rb") as volume:
        boot = volume.read(512)
    sector = int.from_bytes(boot[11:13], "little")
    size = sector * boot[13]
    clusters = int.from_bytes(boot[40:48], "little") // boot[13]
    bitmap = output("ntfscat", "-f", "-i", "6", path)
    return size, {c for c in range(clusters) if not bitmap[c // 8] >> c % 8 & 1}


def main():
    kind, source, restored = sys.argv[1:]
    size, free = {"ext": free_of_ext, "ntfs": free_of_ntfs}[kind](source)
    used, dropped, number = 0, 0, 0
    with open(source, "rb") as a, open(restored, "rb") as b:
        while True:
            x, y = a.read(size), b.read(size)
            if len(x) != len(y):
                sys.exit(f"sizes differ at block {number}")
            if not x:
                break
            if number in free:
                # A partly free unit of the image may keep nothing of it: zeros, never stale data.
                if y.strip(b"\0"):
                    sys.exit(f"free block {number} holds data")
                dropped += 1
            elif x != y:
                sys.exit(f"block {number} differs")
            else:
                used += 1
            number += 1
    print(f"used={used} free={dropped}")
    if not used or not dropped:
        sys.exit("nothing was compared")


main()
