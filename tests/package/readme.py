# SPDX-License-Identifier: BSD-3-Clause
"""What README.md shows is true.

c with main()   compiled, run; a text block right after it is its whole output
c without       is the body of a function, and compiles
sh              its compiler lines run, each source in them being the last
                whole program
cmake           configures and builds that program
All against the installed tree.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
HEAD = "cmake_minimum_required(VERSION 3.16)\nproject(readme LANGUAGES C)\n"

prefix = os.environ["UMEM_PREFIX"]
work = pathlib.Path("readme")
environment = dict(
    os.environ,
    PKG_CONFIG_PATH=os.environ["UMEM_LIBDIR"] + "/pkgconfig",
    LD_LIBRARY_PATH=os.environ["UMEM_LIBDIR"],
    CMAKE_PREFIX_PATH=prefix,
)
program = ""


def run(*command):
    """Runs in the work directory; returns stdout, ends the test on failure."""
    done = subprocess.run(command, cwd=work, env=environment, text=True,
                          stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)}: {done.returncode}\n{done.stdout}")
    return done.stdout


def compile_c(source, *options):
    (work / "snippet.c").write_text(source)
    run(os.environ["CC"], "-std=c11", *WARNINGS, f"-I{prefix}/include",
        "snippet.c", *options)


def check_program(source, expected):
    global program
    program = source
    flags = shlex.split(run("pkg-config", "--libs", "umem"))
    compile_c(source, "-o", "snippet", *flags)
    output = run("./snippet")
    if expected is not None and output != expected:
        sys.exit(f"README says:\n{expected}\nthe program says:\n{output}")


def check_fragment(source):
    compile_c("#include <umem.h>\nvoid fragment(void);\nvoid fragment(void) {\n"
              + source + "}\n", "-fsyntax-only", "-Wno-unused")


def check_shell(source):
    for line in source.replace("\\\n", " ").splitlines():
        if re.match(r"(cc|gcc|clang|c99)\s", line):
            for name in re.findall(r"\S+\.c\b", line):
                (work / name).write_text(program)
            run("sh", "-c", line)


def check_cmake(source):
    if "FetchContent" in source:
        return  # would need the network
    target = re.search(r"target_link_libraries\((\w+)", source).group(1)
    if "add_executable" not in source:
        source = f"add_executable({target} main.c)\n" + source
    for name in re.findall(r"\S+\.c\b", source):
        (work / name).write_text(program)
    (work / "CMakeLists.txt").write_text(HEAD + source)
    run("cmake", "-S", ".", "-B", "build")
    run("cmake", "--build", "build")


def main():
    readme = pathlib.Path(os.environ["UMEM_SOURCE"], "README.md")
    if not readme.exists():
        sys.exit(77)
    subprocess.run(["rm", "-rf", work], check=True)
    work.mkdir()
    blocks = BLOCK.findall(readme.read_text())
    following = blocks[1:] + [("", "")]
    for (kind, text), (next_kind, next_text) in zip(blocks, following):
        print(f"{kind}: {text.splitlines()[0]}", flush=True)
        if kind == "c" and "int main" in text:
            check_program(text, next_text if next_kind == "text" else None)
        elif kind == "c":
            check_fragment(text)
        elif kind == "sh":
            check_shell(text)
        elif kind == "cmake":
            check_cmake(text)
    if not program:
        sys.exit("README.md has no program")


main()
