"""Examines a linked image for a Cortex-M: its sections, the size of each of its parts, and the source of each address."""

import re
import subprocess
from collections import Counter

IN_FLASH = (".vector_table", ".text", ".rodata", ".data")
IN_RAM = (".data", ".bss", ".uninit")
LIBRARY = "the compiler's library"
CONSTANTS = "constants of all"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Image:
    def __init__(self, path, own, owners=()):
        """`own` names the package that the image is built from. `owners` assigns statics to components: pairs of the end of
        a symbol's name and a component."""
        self.path, self.own, self.owners = path, own, owners

    def sections(self):
        """The size in bytes of each section, by name."""
        rows = (line.split() for line in output("size", "-A", self.path).splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(".")}

    def flash(self):
        found = self.sections()
        return sum(found.get(name, 0) for name in IN_FLASH)

    def functions(self):
        """The size in bytes of all functions, by the crate of their source file. Inlined code counts for the crate that it
        is inlined from, and code of core and alloc for the crate that calls it."""
        addresses = sorted({
            address
            for start, size, kind, _ in self.symbols() if kind in "tT"
            for address in range(start & ~1, (start & ~1) + size, 2)
        })
        found = Counter()
        for frames in self.places(addresses):
            files = [file for _, file in frames if "/library/" not in file or "compiler-builtins" in file]
            found[self.crate_of(files[0]) if files else LIBRARY] += 2
        return found

    def by_component(self):
        """The bytes of flash and of RAM, by component. After linking nothing tells which component a constant belongs to:
        constants are a component of their own."""
        found = self.sections()
        flash, ram = self.functions(), Counter()
        # Bytes that no symbol names: literals and veneers that the linker has added, and padding.
        flash[LIBRARY] += found[".text"] - sum(flash.values())
        flash[CONSTANTS] = found.get(".rodata", 0) + found.get(".vector_table", 0)
        for _, size, kind, name in self.symbols():
            if kind in "dDbB":
                ram[self.owner_of(name)] += size
                if kind in "dD":
                    flash[self.owner_of(name)] += size
        rest = sum(found.get(name, 0) for name in IN_RAM) - sum(ram.values())
        ram[self.own] += rest
        flash[self.own] += self.flash() - sum(flash.values())
        return {name: (flash[name], ram[name]) for name in sorted(flash | ram, key=lambda name: -flash[name])}

    def owner_of(self, static):
        return next((owner for ending, owner in self.owners if static.endswith(ending)), self.own)

    def symbols(self):
        """For each symbol with a size: address, size, kind as in nm, and name."""
        for line in output("nm", "-S", "-C", self.path).splitlines():
            fields = line.split(None, 3)
            if len(fields) == 4 and len(fields[2]) == 1:
                yield int(fields[0], 16), int(fields[1], 16), fields[2], re.sub(r"::h[0-9a-f]{16}$", "", fields[3])

    def crate_of(self, file):
        if "no_std_core/flash/" in file:
            return "goldcrest-flash"
        if "no_std_core/codec/" in file:
            return "goldcrest-codec"
        if "no_std_core/" in file:
            return "goldcrest-core"
        if "compiler-builtins" in file:
            return "compiler-builtins"
        found = re.search(r"/registry/src/[^/]+/([^/]+?)-\d", file)
        return found[1] if found else self.own

    def places(self, addresses):
        """For each address, the functions and source files of the code there, the innermost first."""
        lines = subprocess.run(
            ["addr2line", "-a", "-f", "-i", "-C", "-e", self.path],
            input="\n".join(map(hex, addresses)), capture_output=True, text=True, check=True,
        ).stdout.splitlines()
        found, at = [], 0
        while at < len(lines):
            if lines[at].startswith("0x"):
                found.append([])
                at += 1
            else:
                found[-1].append((lines[at], lines[at + 1]))
                at += 2
        return found
