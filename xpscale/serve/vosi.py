"""What the service says of itself: VOSI capabilities, tables and availability."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from xpscale.errors import NotFoundError
from xpscale.schema import Column
from xpscale.serve.formats import FORMATS
from xpscale.serve.functions import EXTRA_FUNCTIONS, GEOMETRY
from xpscale.serve.limits import Limits
from xpscale.serve.served_tables import (
    CATALOG,
    INDEXED,
    PRINCIPAL,
    ServedTable,
    declared_name,
    votype,
)

__all__ = ["availability", "capabilities", "cone_capabilities", "tables"]

START = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACES = (
    'xmlns:vosi="http://www.ivoa.net/xml/{}"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
    ' xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0"'
    ' xmlns:cs="http://www.ivoa.net/xml/ConeSearch/v1.0"'
)
FEATURES = "ivo://ivoa.net/std/TAPRegExt#features-"
OPTIONAL = {
    "adql-string": ("LOWER", "UPPER", "ILIKE"),
    "adql-sets": ("UNION", "EXCEPT", "INTERSECT"),
    "adql-common-table": ("WITH",),
    "adql-type": ("CAST",),
    "adql-offset": ("OFFSET",),
}
"""What ADQL 2.1 leaves open and we have."""


def capabilities(url: str, limits: Limits) -> str:
    """Of TAP.

    Parameters
    ----------
    url
        Address of the TAP service.
    limits
        Its bounds.
    """
    return f"""{START}<vosi:capabilities {NAMESPACES.format("VOSICapabilities/v1.0")}>
<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">
<interface xsi:type="vs:ParamHTTP" role="std" version="1.1">
<accessURL use="base">{escape(url)}</accessURL></interface>
<language><name>ADQL</name>
<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version>
<version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version>
<description>ADQL, run by DuckDB over the parts of the catalogue</description>
{_features()}</language>
{_formats()}<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-http"/>
<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-inline"/>
<retentionPeriod><default>{limits.job_lifetime_s:.0f}</default>\
<hard>{limits.job_lifetime_s:.0f}</hard></retentionPeriod>
<executionDuration><default>{limits.async_s:.0f}</default>\
<hard>{limits.async_s:.0f}</hard></executionDuration>
<outputLimit><default unit="row">{limits.default_rows}</default>\
<hard unit="row">{limits.rows}</hard></outputLimit>
<uploadLimit><default unit="byte">{limits.upload_bytes}</default>\
<hard unit="byte">{limits.upload_bytes}</hard></uploadLimit>
</capability>
{_vosi(url, "VOSI#capabilities", "capabilities")}{_vosi(url, "VOSI#tables-1.1", "tables")}\
{_vosi(url, "VOSI#availability", "availability")}{_vosi(url, "DALI#examples", "examples")}\
</vosi:capabilities>
"""


def cone_capabilities(url: str, limits: Limits, place: tuple[float, float]) -> str:
    """Of Simple Cone Search.

    Parameters
    ----------
    url
        Address of the service.
    limits
        Its bounds.
    place
        ra and dec of a place with sources, degrees.
    """
    return f"""{START}<vosi:capabilities {NAMESPACES.format("VOSICapabilities/v1.0")}>
<capability standardID="ivo://ivoa.net/std/ConeSearch" xsi:type="cs:ConeSearch">
<interface xsi:type="vs:ParamHTTP" role="std" version="1.03">
<accessURL use="base">{escape(url)}?</accessURL>
<queryType>GET</queryType><resultType>application/x-votable+xml</resultType></interface>
<maxSR>180</maxSR><maxRecords>{limits.rows}</maxRecords><verbosity>true</verbosity>
<testQuery><ra>{place[0]}</ra><dec>{place[1]}</dec><sr>0.1</sr></testQuery>
</capability>
{_vosi(url, "VOSI#capabilities", "capabilities")}</vosi:capabilities>
"""


def _vosi(url: str, standard: str, name: str) -> str:
    return f"""<capability standardID="ivo://ivoa.net/std/{standard}">
<interface xsi:type="vs:ParamHTTP" role="std" version="1.0">
<accessURL use="full">{escape(url)}/{name}</accessURL></interface></capability>
"""


def _features() -> str:
    geometry = _listed("adqlgeo", ((name, "") for name in GEOMETRY))
    ours = _listed("udf", EXTRA_FUNCTIONS.values())
    rest = (_listed(kind, ((name, "") for name in names)) for kind, names in OPTIONAL.items())
    return geometry + ours + "".join(rest)


def _listed(kind: str, features: Iterable[tuple[str, str]]) -> str:
    lines = (
        f"<feature><form>{escape(form)}</form>"
        f"{f'<description>{escape(text)}</description>' if text else ''}</feature>\n"
        for form, text in features
    )
    return f'<languageFeatures type="{FEATURES}{kind}">\n{"".join(lines)}</languageFeatures>\n'


def _formats() -> str:
    return "".join(
        f"<outputFormat><mime>{form.media_type}</mime><alias>{form.names[1]}</alias>"
        "</outputFormat>\n"
        for form in FORMATS
    )


def availability(since: str) -> str:
    """That the service is up.

    Parameters
    ----------
    since
        When it was started, ISO 8601.
    """
    return f"""{START}<vosi:availability {NAMESPACES.format("VOSIAvailability/v1.0")}>
<vosi:available>true</vosi:available><vosi:upSince>{since}</vosi:upSince>
</vosi:availability>
"""


def tables(known: Sequence[ServedTable], name: str = "", *, is_short: bool = False) -> str:
    """All tables, or one.

    Parameters
    ----------
    known
        The tables of the service.
    name
        The one asked for, empty for all.
    is_short
        Leave the columns out.

    Raises
    ------
    NotFoundError
        There is none of that name.
    """
    namespaces = NAMESPACES.format("VOSITables/v1.0")
    if name:
        for table in known:
            if table.full_name.lower() == name.lower():
                text = _table(table, is_short=False)
                return START + text.replace(
                    '<table type="table">', f'<vosi:table type="table" {namespaces}>'
                ).replace("</table>", "</vosi:table>")
        raise NotFoundError(f"no table is called {name!r}")
    text = ""
    for schema in dict.fromkeys(table.schema for table in known):
        its = (_table(table, is_short=is_short) for table in known if table.schema == schema)
        text += f"<schema><name>{schema}</name>\n{''.join(its)}</schema>\n"
    return f"{START}<vosi:tableset {namespaces}>\n{text}</vosi:tableset>\n"


def _table(table: ServedTable, *, is_short: bool) -> str:
    columns = "" if is_short else "".join(_column(table, column) for column in table.known)
    keys = (
        ""
        if is_short
        else "".join(
            f"<foreignKey><targetTable>{other}</targetTable><fkColumn><fromColumn>{its}</fromColumn>"
            f"<targetColumn>{theirs}</targetColumn></fkColumn></foreignKey>\n"
            for its, other, theirs in table.keys
        )
    )
    return (
        f'<table type="table"><name>{table.full_name}</name>'
        f"<description>{escape(table.description)}</description>\n{columns}{keys}</table>\n"
    )


def _column(table: ServedTable, column: Column) -> str:
    datatype, arraysize = votype(column.type)
    is_ours = table.schema == CATALOG
    size = f' arraysize="{arraysize}"' if arraysize else ""
    flags = (("indexed", column.name in INDEXED and is_ours),
             ("principal", column.name in PRINCIPAL or not is_ours))  # fmt: skip
    words = (("unit", column.unit), ("ucd", column.ucd))
    name = escape(declared_name(column.name))
    return (
        f'<column std="{str(not is_ours).lower()}"><name>{name}</name>'
        f"<description>{escape(column.description)}</description>"
        f"{''.join(f'<{key}>{escape(word)}</{key}>' for key, word in words if word)}"
        f'<dataType xsi:type="vs:VOTableType"{size}>{datatype}</dataType>'
        f"{''.join(f'<flag>{flag}</flag>' for flag, is_so in flags if is_so)}</column>\n"
    )
