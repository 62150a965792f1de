"""Every file is written whole or not at all: nobody writes past `replacing` of `data.files`."""

import ast
from functools import cache
from pathlib import Path

from tests.test_architecture import MODULES, tree

WRITERS = {"write_text", "write_bytes", "to_csv", "to_parquet", "to_json", "savefig", "save", "save_file", "savez"}
WRITERS |= {"save_image", "tofile", "savetxt", "touch", "symlink_to", "hardlink_to", "copy", "copyfile", "copy2"}
OPENERS = {"open", "fdopen", "ZipFile", "ParquetWriter"}
MOVERS = {"replace", "rename", "move"}
OURS = {"write_text", "write_bytes"}
"""Functions of `data.files` that have the names of pathlib's methods."""
ALLOWED = {
    "data/files.py": "the one writer",
    "cache": "stores and archives have a writer of their own, with tests of their own",
    "pipeline/runs/artefacts.py": "a folder gets its name when all in it is on the disk",
    "pipeline/experiment/run_log.py": "a log is added to, and nothing reads it",
    "pipeline/studies/sweeps/ray_cluster.py": "what Ray's core prints, in a folder that is gone with the cluster",
    "heads/nets/decoded.py": "a folder that gets its name when all in it is on the disk",
    "data/fetch/http.py": "a download that can be gone on with; it gets its name when it is checked and on the disk",
    "data/fetch/archives.py": "an archive that is used up while its images come out",
    "data/fetch/assembly.py": "metadata get their name when the images are on the disk",
    "data/fetch/download.py": "an empty mark",
    "pipeline/inspect/audit/audit_files.py": "a file that a person has edited is moved aside",
    "pipeline/use/share/feature_archive.py": "a folder for the length of a function",
    "pipeline/cli/data.py": "a split, which writes itself",
    "pipeline/cli/endings.py": "the details of a fault, in the system's folder for what lasts not long",
}


def name_of_call(node: ast.AST) -> str:
    function = node.func if isinstance(node, ast.Call) else None
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def harmless(parsed: ast.Module) -> set[str]:
    """Names of what may be written to: what `replacing` gives, a parameter that is called so, and memory."""
    names = {"partial"} if any(isinstance(n, ast.arg) and n.arg == "partial" for n in ast.walk(parsed)) else set()
    for node in [*ast.walk(parsed), *ast.walk(parsed)]:  # twice: an open file of what is bound later in the walk
        if isinstance(node, ast.Assign) and name_of_call(node.value) in ("BytesIO", "StringIO"):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            call = node.context_expr
            opened = name_of_call(call) == "open" and ast.unparse(call).split(".")[0] in names
            if name_of_call(call) == "replacing" or opened:
                names.add(node.optional_vars.id)
    return names


@cache
def writers(module: Path) -> list[str]:
    """The calls of a module that write a file, or give one its name, past the one writer."""
    fine, found = harmless(tree(module)), []
    for node in ast.walk(tree(module)):
        name, function = name_of_call(node), getattr(node, "func", None)
        if not isinstance(node, ast.Call) or name not in WRITERS | OPENERS | MOVERS:
            continue
        of = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
        given = [ast.unparse(argument) for argument in node.args]
        values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
        texts = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        opens = name in OPENERS and any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)
        writes = name in WRITERS and not (name in OURS and not of) and bool(given or name == "touch")
        moves = name in MOVERS and of and (of in ("os", "shutil") or (len(given) == 1 and not node.keywords))
        if moves or ((opens or writes) and not fine & {of, *given[:2]}):
            found.append(f"{module}:{node.lineno} {ast.unparse(node)[:80]}")
    return found


def allowed(module: Path) -> bool:
    return any(str(module) == place or str(module).startswith(f"{place}/") for place in ALLOWED)


def test_every_file_is_written_by_the_one_writer() -> None:
    wrong = [where for module in MODULES if not allowed(module) for where in writers(module)]
    assert wrong == []


def test_no_exception_is_listed_that_is_none() -> None:
    needed = {str(module) for module in MODULES if writers(module)}
    assert [
        place for place in ALLOWED if not any(name == place or name.startswith(f"{place}/") for name in needed)
    ] == []
