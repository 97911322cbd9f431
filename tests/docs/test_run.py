"""Tests of the transcript runner itself: python3 -m unittest tests/docs/test_run.py"""

import importlib.machinery
import importlib.util
import sys
import tempfile
import unittest
from pathlib import Path

loader = importlib.machinery.SourceFileLoader("docs_run", str(Path(__file__).with_name("run")))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("docs_run", loader))
sys.modules["docs_run"] = run
loader.exec_module(run)


def steps(text):
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.md"
        page.write_text(text)
        return run.parse(page).steps


class Parsing(unittest.TestCase):
    def test_only_marked_blocks_run(self):
        self.assertEqual(steps("```console\n$ rm -rf /\n```\n```\n$ no\n```\n"), [])

    def test_commands_and_what_they_print(self):
        first, second = steps("```console test\n$ a\none\ntwo\n$ b\n```\n")
        self.assertEqual((first.command, first.expected, first.line), ("a", ["one", "two"], 2))
        self.assertEqual((second.command, second.expected, second.line), ("b", [], 5))

    def test_continued_lines_and_here_documents(self):
        first, second = steps("```console test\n$ a \\\n    b\nout\n$ cat <<EOF\n$ text\nEOF\n```\n")
        self.assertEqual(first.command, "a \\\n    b")
        self.assertEqual(second.command, "cat <<EOF\n$ text\nEOF")

    def test_indented_blocks_and_longer_fences(self):
        (step,) = steps("- item\n  ````console test exit=2\n  $ a\n  ```\n    deeper\n  ````\n")
        self.assertEqual((step.expected, step.exit_code), (["```", "  deeper"], 2))

    def test_mistakes_are_not_passed_over(self):
        for text in ("```console test exitt=1\n$ a\n```\n", "```python test\n1\n```\n", "```console test\nno command\n```\n"):
            with self.assertRaises(SystemExit):
                steps(text)


class Matching(unittest.TestCase):
    def test_exact(self):
        self.assertTrue(run.matches(["a", "b"], ["a", "b"]))
        self.assertFalse(run.matches(["a"], ["a", "b"]))
        self.assertFalse(run.matches(["a.b"], ["axb"]))

    def test_ellipsis(self):
        self.assertTrue(run.matches(["token  …", "…", "end"], ["token  hvs.x", "1", "2", "end"]))
        self.assertTrue(run.matches(["a", "…"], ["a"]))
        self.assertFalse(run.matches(["a …"], ["b c"]))
        self.assertFalse(run.matches(["a…"], ["a", "b"]))


class Running(unittest.TestCase):
    def shell(self):
        shell = run.Shell(tempfile.gettempdir(), {"PATH": "/usr/bin:/bin"})
        self.addCleanup(shell.process.stdin.close)
        self.addCleanup(shell.process.stdout.close)
        self.addCleanup(shell.close)
        return shell

    def test_variables_stay_and_status_is_seen(self):
        shell = self.shell()
        self.assertEqual(shell.run("x=1; printf unfinished"), (0, ["unfinished"]))
        self.assertEqual(shell.run("echo $x; echo err >&2; false"), (1, ["1", "err"]))
        # A command cannot eat the next one.
        self.assertEqual(shell.run("cat"), (0, []))

    def test_what_differs_is_a_failure(self):
        step = run.Step(1, "x", ["right"], 0)
        self.assertIsNone(run.failure(step, 0, ["right", ""]))
        self.assertIn("+wrong", run.failure(step, 0, ["wrong"]))
        self.assertIn("exit status 3", run.failure(step, 3, ["right"]))


if __name__ == "__main__":
    unittest.main()
