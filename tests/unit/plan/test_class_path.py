"""The class path is inserted behind the word `java`, and only if the command has none."""

from __future__ import annotations

import pytest

from sconectl.manifest.model.fields import CommandLine
from sconectl.plan.service.class_path import main_class, with_class_path


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("java Main", "java -cp /app:/app/a.jar Main"),
        ("java -Xmx256m Main -cp x", "java -cp /app:/app/a.jar -Xmx256m Main -cp x"),
        ("  java   Main", "java -cp /app:/app/a.jar Main"),
        ("/opt/jdk/bin/java Main", "/opt/jdk/bin/java -cp /app:/app/a.jar Main"),
        ("env A='x java y' java Main", "env A='x java y' java -cp /app:/app/a.jar Main"),
        ("java Main $$SCONE::a$$ {{b}}", "java -cp /app:/app/a.jar Main $$SCONE::a$$ {{b}}"),
        ("java Main java", "java -cp /app:/app/a.jar Main java"),
        ("java -cp x Main", "java -cp x Main"),
        ("java -Xmx1g -classpath x Main", "java -Xmx1g -classpath x Main"),
        ("java --class-path x Main", "java --class-path x Main"),
        ("java --class-path=x Main", "java --class-path=x Main"),
        ("java -jar app.jar", "java -jar app.jar"),
        ("python3 x.py", "python3 x.py"),
        ("javac Main", "javac Main"),
        ("java", "java -cp /app:/app/a.jar"),
        ("'java' Main", "java -cp /app:/app/a.jar Main"),
    ],
)
def test_insertion(command: str, expected: str) -> None:
    assert with_class_path(CommandLine(command), ["/app", "/app/a.jar"]).words == CommandLine(expected).words


def test_names_are_quoted() -> None:
    found = with_class_path(CommandLine("java Main"), ["/app", "/app/a b.jar"])
    assert found == "java -cp '/app:/app/a b.jar' Main"
    assert found.words == ("java", "-cp", "/app:/app/a b.jar", "Main")


def test_what_runs() -> None:
    assert main_class(CommandLine("java -Xmx1g Main.java x")) == "Main.java"
    assert main_class(CommandLine("env x java")) == main_class(CommandLine("python3 a.java")) == ""
