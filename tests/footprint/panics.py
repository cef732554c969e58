"""Finds calls from this repository's code that may end in a panic of the library. The program is for the machine that built
it; its instructions are read, and not its source."""

import re
import subprocess
from collections import defaultdict, namedtuple
from functools import cache
from os.path import normpath
from pathlib import Path

from image import Image, output

# The function of this repository, the function of the library that it calls, whether that panics or finds no memory, and the
# line.
Panic = namedtuple("Panic", "function callee kind line")

# The functions that every panic and every lack of memory ends in.
ROOTS = {
    "core::panicking::panic_fmt": "panic",
    "core::panicking::panic_nounwind_fmt": "panic",
    "alloc::alloc::handle_alloc_error": "memory",
    "alloc::raw_vec::handle_error": "memory",
    "alloc::raw_vec::capacity_overflow": "memory",
}
FUNCTION = re.compile(r"^([0-9a-f]+) <(.+)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t.*<(.+?)(?:\+0x[0-9a-f]+)?>$")
SOURCE_FUNCTION = re.compile(r"\bfn (\w+)")


class Program:
    def __init__(self, path, root, ours):
        """`ours` names the folders below `root` whose sources belong to this repository."""
        self.root, self.ours, self.image = root, [f"{root}/{folder}/" for folder in ours], Image(path, "")
        # The first address of each function, and the addresses of the instructions that name it with the functions around them.
        self.begins, self.references = {}, defaultdict(list)
        inside = None
        for line in output("objdump", "-d", "--no-show-raw-insn", path).splitlines():
            if header := FUNCTION.match(line):
                inside = header[2]
                self.begins[inside] = int(header[1], 16)
            elif (instruction := INSTRUCTION.match(line)) and instruction[2] != inside:
                self.references[instruction[2]].append((int(instruction[1], 16), inside))
        plain = subprocess.run(["c++filt"], input="\n".join(self.begins), capture_output=True, text=True, check=True).stdout
        # Some names have the hash of the crate, others a hash at the end.
        self.plain = {name: re.sub(r"::h[0-9a-f]{16}$|\[[0-9a-f]+\]", "", line) for name, line in zip(self.begins, plain.splitlines())}

    def panics(self):
        """All calls from this repository's code that reach a root through functions of the library."""
        found = set()
        for kind in sorted({*ROOTS.values()}):
            others = {name for name, plain in self.plain.items() if ROOTS.get(plain, kind) != kind}
            ends = [name for name, plain in self.plain.items() if ROOTS.get(plain) == kind]
            seen = {*ends, *others}
            while ends:
                calls = [(callee, *call) for callee in ends for call in self.references[callee]]
                ends = []
                for (callee, _, caller), frames in zip(calls, self.places([address for _, address, _ in calls])):
                    at = next((at for at, (_, file) in enumerate(frames) if file.startswith(tuple(self.ours))), None)
                    if at is not None:
                        found.add(self.panic(callee, frames[:at], frames[at][1], kind))
                    elif caller not in seen:
                        seen.add(caller)
                        ends.append(caller)
        return sorted(found)

    def places(self, addresses):
        """As `places` of an image, with absolute paths."""
        return [[(name, normpath(file)) for name, file in frames] for frames in self.image.places(addresses)]

    def panic(self, callee, inlined, place, kind):
        """`inlined` are the functions of the library that the compiler has inlined into the function of this repository, the
        innermost first."""
        # The innermost function is named after the function that everything was inlined into.
        name, file = inlined[-1] if len(inlined) > 1 else (self.plain[callee], self.file_of(callee))
        file = file.rsplit("/library/")[-1].rsplit("/registry/src/")[-1].rsplit(":", 1)[0].replace("/src/", "/")
        place = place.removeprefix(f"{self.root}/").split(" ")[0]
        return Panic(self.function_at(place), f"{file} {short(name)}", kind, place)

    @cache
    def file_of(self, function):
        return self.places([self.begins[function]])[0][-1][1] if function in self.begins else "?:0"

    @cache
    def function_at(self, place):
        """The function of this repository around a line, by its file: the compiler keeps no line where it has merged several
        calls."""
        file, line = place.rsplit(":", 1)
        before = Path(self.root, file).read_text().splitlines()[:int(line)] if line.isdecimal() else []
        names = [found[1] for found in map(SOURCE_FUNCTION.search, before) if found]
        return f"{file} {names[-1] if names else '?'}"


def short(name):
    """The last part of a function's name, without its types."""
    while (less := re.sub(r"<[^<>]*>", "", name.replace("->", ""))) != name:
        name = less
    return name.rsplit("::", 1)[-1] if not name.endswith("::") else name
