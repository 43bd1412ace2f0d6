"""ADQL 2.1 as a tree: what is read, and what of it is allowed.

sqlglot parses it.  A query is then taken to pieces and only the pieces named here may occur, so a
statement that writes, a file in place of a table or an operator that nobody thought of never
reaches the database.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from sqlglot import errors, exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.tokenizer_core import TokenType

from xpscale.errors import InvalidInputError
from xpscale.serve.functions import require_function

__all__ = ["ADQL", "parse"]

MAX_LENGTH = 100_000
"""Letters of a query; its parser is recursive."""

REMEDY = "Give one SELECT, such as SELECT TOP 10 source_id, ra, dec FROM latents"


class ADQL(Dialect):
    """SQL with ``TOP``, arrays from 1, and no function but those of a table of ours."""

    INDEX_OFFSET = 1
    NULL_ORDERING = "nulls_are_last"  # as DuckDB, so that nothing is added to ORDER BY

    class Tokenizer(tokens.Tokenizer):
        """Of sqlglot, with ``TOP``."""

        KEYWORDS: ClassVar[dict[str, TokenType]] = {
            **tokens.Tokenizer.KEYWORDS,
            "TOP": TokenType.TOP,
        }

    class Parser(parser.Parser):
        """Of sqlglot, where every function is a name and its arguments."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            "CAST": parser.Parser.FUNCTION_PARSERS["CAST"]
        }
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            "CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]
        }


_PARTS: dict[type[exp.Expr], str] = {
    exp.Select: "with_ expressions from_ joins where group having order limit offset distinct",
    exp.Subquery: "this alias with_ order limit offset joins",
    exp.Union: "this expression distinct with_ order limit offset",
    exp.Except: "this expression distinct with_ order limit offset",
    exp.Intersect: "this expression distinct with_ order limit offset",
    exp.With: "expressions",
    exp.CTE: "this alias",
    exp.From: "this",
    exp.Join: "this on using side kind method",
    exp.Table: "this db alias joins",
    exp.TableAlias: "this columns",
    exp.Where: "this",
    exp.Group: "expressions",
    exp.Having: "this",
    exp.Order: "expressions",
    exp.Ordered: "this desc nulls_first",
    exp.Limit: "expression",
    exp.Offset: "expression",
    exp.Distinct: "expressions",
    exp.Alias: "this alias",
    exp.Column: "this table db",
    exp.Identifier: "this quoted",
    exp.Star: "",
    exp.Literal: "this is_string",
    exp.Null: "",
    exp.Boolean: "this",
    exp.Paren: "this",
    exp.Tuple: "expressions",
    exp.In: "this expressions query",
    exp.Between: "this low high",
    exp.Like: "this expression",
    exp.ILike: "this expression",
    exp.Escape: "this expression",
    exp.Exists: "this",
    exp.Is: "this expression",
    exp.Case: "this ifs default",
    exp.If: "this true false",
    exp.Cast: "this to",
    exp.DataType: "this expressions nested",
    exp.DataTypeParam: "this",
    exp.Bracket: "this expressions offset",
    exp.Anonymous: "this expressions",
    **dict.fromkeys((exp.Not, exp.Neg, exp.BitwiseNot), "this"),
    **dict.fromkeys(
        (
            *(exp.And, exp.Or, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE),
            *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe),
            *(exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor),
        ),
        "this expression typed safe",
    ),
}
ALLOWED = {kind: frozenset(names.split()) for kind, names in _PARTS.items()}
"""The pieces of a query and what each may have."""

WORDS = {"locks": "FOR UPDATE", "sample": "TABLESAMPLE", "except_": "EXCLUDE", "when": "AT"}
"""What users write for pieces that are not allowed, where the parser calls them otherwise."""

TYPES = {"SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "CHAR", "VARCHAR", "TEXT", "TIMESTAMP"}


def parse(query: str) -> exp.Query:
    """The tree of one query.

    Parameters
    ----------
    query
        ADQL.

    Raises
    ------
    InvalidInputError
        It is not one SELECT, cannot be read (the message says where), or has a part that is not
        allowed.
    """
    if len(query) > MAX_LENGTH:
        raise InvalidInputError(
            f"the query has {len(query):,} letters, more than {MAX_LENGTH:,}",
            "Upload long lists as a table and join with it",
        )
    try:
        found = [tree for tree in ADQL().parse(query) if tree is not None]
    except errors.ParseError as error:
        raise _explained(error, query) from error
    except errors.TokenError as error:
        what = "a quote is not closed" if query.count("'") % 2 else "it cannot be read"
        raise InvalidInputError(f"in the ADQL: {what}", REMEDY) from error
    except RecursionError as error:
        raise InvalidInputError("the query is nested too deeply", REMEDY) from error
    if len(found) != 1:
        raise InvalidInputError(f"the ADQL holds {len(found)} statements, not one", REMEDY)
    tree = found[0]
    if not isinstance(tree, exp.Query) or isinstance(tree, exp.Table):
        raise InvalidInputError(
            f"{query.split()[0].upper()} is not allowed: the catalogue is read only", REMEDY
        )
    _check(tree)
    return tree


def _explained(error: errors.ParseError, query: str) -> InvalidInputError:
    said = error.errors[0] if error.errors else {}
    line, at = said.get("line") or 1, str(said.get("highlight") or "")
    column = max((said.get("col") or len(query)) - len(at) + 1, 1)  # sqlglot gives the word's end
    start = str(said.get("description", "it cannot be read")).split(". ")[0]
    start = re.sub(r"<class '[\w.]*\.(\w+)'>", r"\1", start)
    where = f", at {at!r}" if at.strip() else ", at its end"
    return InvalidInputError(
        f"in the ADQL, line {line}, column {column}{where}: {start[:1].lower()}{start[1:]}", REMEDY
    )


def _check(tree: exp.Expr) -> None:
    for node in tree.walk():
        allowed = ALLOWED.get(type(node))
        present = {name for name, value in node.args.items() if value not in (None, False, [])}
        if allowed is None:
            raise InvalidInputError(f"{_shown(node)} is not part of ADQL here", REMEDY)
        if extra := sorted(present - allowed):
            what = WORDS.get(extra[0], extra[0].strip("_").upper().replace("_", " "))
            raise InvalidInputError(f"{what} is not part of ADQL here, in {_shown(node)}", REMEDY)
        if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
            raise InvalidInputError(f"{_shown(node)} is not a table", REMEDY)
        if isinstance(node, exp.DataType) and node.this.name not in TYPES:
            raise InvalidInputError(
                f"there is no type {_shown(node)}", f"Types are {', '.join(sorted(TYPES))}"
            )
        if isinstance(node, exp.Anonymous):
            require_function(node)


def _shown(node: exp.Expr) -> str:
    text = node.sql(ADQL)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
