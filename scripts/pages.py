"""Runs the examples of a page of documentation in an empty directory, with an ensemble.

The page's blocks are taken in order:

    ```sh                       shell commands; all of a page's run in one shell, until one fails
    ```sh in another terminal   commands for the nodes, which run already
    ```LANGUAGE file=PATH       a file
    ```text                     the output of the previous block
    ```c, ```go                 the body of a function that has a client (and in Go a ctx, and returns an error)

Addresses of nodes are replaced by those of the ensemble, in files as well; $HOME is the directory; `make install`
installs the built programs.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESSES = ["127.0.0.1:5003", "127.0.0.1:6003", "127.0.0.1:7003"]
GO_PACKAGES = ["context", "errors", "fmt", "time"]

C_PROGRAM = """#include <gometa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

%s
int main(int count, char **arguments)
{
    gometa_client_t *client = NULL;
    if (count != 2 || gometa_client_new(arguments[1], NULL, &client, NULL) != GOMETA_OK) {
        return 1;
    }
%s    gometa_client_free(client);
    return 0;
}
"""

GO_PROGRAM = """package main

import (
	"context"
	"log"
	"os"

	"gometa"
)

func main() {
	client, err := gometa.New(os.Args[1:])
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, fragment := range []func(context.Context, *gometa.Client) error{%s} {
		if err := fragment(context.Background(), client); err != nil {
			log.Fatal(err)
		}
	}
}
"""


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def c_fragments(fragments, directory):
    """A program made of a page's fragments, and the shell command that runs it."""
    functions = "".join(
        f"static void fragment_{i}(gometa_client_t *client)\n{{\n{text}}}\n\n" for i, text in enumerate(fragments)
    )
    calls = "".join(f"    fragment_{i}(client);\n" for i in range(len(fragments)))
    put(directory / "fragments.c", C_PROGRAM % (functions, calls))
    return (
        "cc -std=c99 -Wall -Wextra -Werror -Wno-unused-parameter \"$HOME\"/fragments.c "
        "$(pkg-config --cflags --libs gometa) -Wl,-rpath,$HOME/gometa/lib -o \"$HOME\"/fragments\n"
        "\"$HOME\"/fragments \"$GOMETA_PEERS\"\n"
    )


def go_fragments(fragments, directory):
    for i, text in enumerate(fragments):
        used = [name for name in GO_PACKAGES if name == "context" or re.search(rf"\b{name}\.", text)]
        imports = "".join(f'\t"{name}"\n' for name in used)
        put(directory / "fragments" / f"fragment_{i}.go",
            f"package main\n\nimport (\n{imports}\n\t\"gometa\"\n)\n\n"
            f"func fragment{i}(ctx context.Context, client *gometa.Client) error {{\n{text}\treturn nil\n}}\n")
    names = ", ".join(f"fragment{i}" for i in range(len(fragments)))
    put(directory / "fragments" / "main.go", GO_PROGRAM % names)
    put(directory / "fragments" / "go.mod",
        f"module fragments\n\ngo 1.19\n\nrequire gometa v0.0.0\n\nreplace gometa => {ROOT / 'go'}\n")
    return "cd \"$HOME\"/fragments\ngo run . \"$GOMETA_PEERS\"\n"


def prepare(page, directory, peers):
    """Writes the page's files; returns its shell script, and the output of each part."""
    script = ["set -e\n"]
    expected = {}
    fragments = {"c": [], "go": []}
    text = Path(page).read_text()
    for old, new in zip(ADDRESSES, peers):
        text = text.replace(old, new)
    for kind, body in BLOCK.findall(text):
        language, _, rest = kind.partition(" ")
        if not body.strip():
            # Such a page would test nothing.
            sys.exit(f"{page}: a block of {kind!r} is empty")
        if rest.startswith("file="):
            put(directory / rest[len("file="):], body)
        elif language == "sh" and not rest:
            script.append(body)
        elif language == "text" and len(script) > 1:
            expected[len(script) - 1] = body
        elif language in fragments and not rest:
            fragments[language].append(body)
        elif kind != "sh in another terminal":
            sys.exit(f"{page}: blocks of {kind!r} are not run")
    for language, make in [("c", c_fragments), ("go", go_fragments)]:
        if fragments[language]:
            script.append(make(fragments[language], directory))
    return script, expected


def check(page, directory, target):
    """Runs a page in an empty directory, with the ensemble of GOMETA_PEERS; returns the first difference, or nothing."""
    directory = Path(directory)
    peers = os.environ["GOMETA_PEERS"].split(",")
    script, expected = prepare(page, directory, peers)
    put(directory / "bin" / "make", "#!/bin/sh\n"
        f"exec {shlex.quote(sys.executable)} -B {shlex.quote(str(ROOT / 'scripts' / 'install.py'))} --target "
        f"{shlex.quote(str(target))} --library --prefix \"${{2#PREFIX=}}\" >/dev/null\n")
    (directory / "bin" / "make").chmod(0o755)
    put(directory / "src" / ".keep", "")
    (directory / "src" / "gometa").symlink_to(ROOT)
    # A marker line separates the outputs of the blocks.
    mark = "== the end of a block =="
    text = "".join(f"{block}\necho '{mark}'\n" for block in script)
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PKG_CONFIG_PATH", "LD_LIBRARY_PATH", "CGO_LDFLAGS", "CGO_CFLAGS")}
    put(directory / "page.sh", text)
    done = subprocess.run(
        ["sh", "page.sh"], cwd=directory, stdin=subprocess.DEVNULL, text=True, check=False, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment, "HOME": str(directory), "PATH": f"{directory}/bin:{environment['PATH']}"},
    )
    if done.returncode != 0:
        return f"{page}: a block fails\n{done.stdout}"
    printed = done.stdout.split(f"{mark}\n")
    for block, text in expected.items():
        if printed[block] != text:
            return f"{page}: a block prints\n{printed[block]}\nand not\n{text}"
    return ""


def main():
    """pages.py TARGET DIRECTORY PAGE, beside an ensemble: for go.py."""
    target, directory, page = sys.argv[1:]
    wrong = check(page, directory, target)
    if wrong:
        sys.exit(wrong)


if __name__ == "__main__":
    main()
