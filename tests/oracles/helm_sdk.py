"""Charts through Helm's SDK (helm-python-sdk, another build of Helm's own library) and through `tk8s-agent render`: the
same objects and the same notes, or an exit code of 1 and what differs. Run by `scripts/helm-oracle.sh`; no part of CI,
because the package brings 85 MB of somebody else's binary."""

import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import helm_python as helm

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n"
CRD = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com, scope: Namespaced, names: {kind: Thing, plural: things}}\n"
CHART = "apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: '7'\n"


def map_of(name, /, **data):
    lines = "".join(f"  {key}: {value}\n" for key, value in data.items())
    return MAP.replace("NAME", name) + "data:\n" + lines


# Each: what it is about, the files of the chart, files of values in their order, values in the platform file.
CHARTS = [
    ("an empty chart of one object", {"templates/a.yaml": map_of("a", x="y")}, [], None),
    (
        "values: defaults, two files, inline, maps merged, lists replaced, null deletes",
        {
            "values.yaml": "a: 1\nlist: [1, 2]\nmap: {x: 1, y: {p: 1, q: 2}, gone: 1}\nmode: 0644\non: yes\nbig: 123456789012\nfloat: 1.50\n",
            "templates/a.yaml": map_of("a", all="{{ .Values | toJson | quote }}"),
        },
        ["a: 2\nmap: {y: {q: 3}}\nlist: [3]\n", "map: {z: no, gone: null}\nonly: two\n"],
        {"a": 4, "text": "yes", "octal": "0644", "nested": {"list": [{"a": None}, 1.5, True]}},
    ),
    (
        "built-in objects, helpers, files, tpl, lookup, sprig",
        {
            "files/one.txt": "one\n",
            "files/two.txt": "two\n",
            "templates/_h.tpl": '{{- define "n" -}}{{ .Release.Name | trunc 3 }}-{{ .Chart.Name }}{{- end -}}\n',
            "templates/a.yaml": map_of(
                "a",
                name='{{ include "n" . }}',
                release="{{ .Release | toJson | quote }}",
                version="{{ .Chart.Version }}-{{ .Chart.AppVersion }}",
                files='{{ (.Files.Glob "files/*").AsConfig | quote }}',
                template="{{ .Template.Name }}",
                tpl='{{ tpl "{{ .Release.Namespace }}" . | upper }}',
                lookup='{{ lookup "v1" "Secret" "x" "y" | toJson | quote }}',
                sum='{{ "x" | sha256sum }}',
                has='{{ .Capabilities.APIVersions.Has "apps/v1" | quote }}',
                missing='{{ .Values.missing | default "none" }}',
            ),
            "templates/empty.yaml": "{{ if .Values.never }}x{{ end }}\n",
            "templates/two.yaml": map_of("b", x="1") + "---\n# nothing\n---\n" + map_of("c", x="2"),
        },
        [],
        None,
    ),
    (
        "definitions, with dependencies of which one is off",
        {
            "Chart.yaml": CHART
            + "dependencies:\n- {name: cache, version: 0.1.0, alias: store, condition: store.on, import-values: [exported]}\n- {name: queue, version: 0.1.0, condition: queue.on}\n",
            "values.yaml": "global: {who: all}\nstore: {on: true, size: large}\nqueue: {on: false}\n",
            "crds/things.yaml": CRD,
            "templates/a.yaml": map_of("a", imported="{{ .Values.limit | quote }}"),
            "charts/cache/Chart.yaml": "apiVersion: v2\nname: cache\nversion: 0.1.0\n",
            "charts/cache/values.yaml": "size: small\nexports: {exported: {limit: 5}}\n",
            "charts/cache/templates/c.yaml": map_of(
                "{{ .Chart.Name }}", size="{{ .Values.size }}", who="{{ .Values.global.who }}"
            ),
            "charts/queue/Chart.yaml": "apiVersion: v2\nname: queue\nversion: 0.1.0\n",
            "charts/queue/templates/q.yaml": map_of("queue", x="y"),
        },
        [],
        None,
    ),
    (
        "a dependency as an archive, and a schema",
        {
            "Chart.yaml": CHART + "dependencies: [{name: packed, version: 0.1.0}]\n",
            "values.schema.json": '{"type": "object", "properties": {"n": {"type": "integer"}}}',
            "templates/a.yaml": map_of("a", n="{{ .Values.n | quote }}"),
            "packed/Chart.yaml": "apiVersion: v2\nname: packed\nversion: 0.1.0\n",
            "packed/templates/p.yaml": map_of("packed", x="{{ .Release.Name }}"),
        },
        ["n: 3\n"],
        None,
    ),
    (
        "hooks, taken and left out, and notes",
        {
            "templates/NOTES.txt": "{{ .Release.Name }} is in {{ .Release.Namespace }}: {{ .Values.hint }}\n",
            "templates/a.yaml": map_of("a", x="y"),
            "templates/h.yaml": "---\n".join(
                MAP.replace("{name: NAME}", f'{{name: {name}, annotations: {{helm.sh/hook: "{hook}"}}}}')
                for name, hook in [
                    ("taken", "pre-install,pre-upgrade"),
                    ("once", "pre-install"),
                    ("late", "post-install,post-upgrade"),
                    ("end", "pre-delete"),
                    ("test", "test"),
                    ("odd", "crd-install"),
                ]
            ),
        },
        [],
        {"hint": "look"},
    ),
]


def merged(base, more):
    """Files of values as Helm merges them: maps are merged, everything else is replaced."""
    out = dict(base)
    for key, value in more.items():
        known = out.get(key)
        out[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return out


def documents(text):
    parsed = [helm.values_from_yaml(piece) for piece in ("\n" + text).split("\n---") if piece.strip()]
    return [document for document in parsed if document]


def placed(document):
    """As the agent prints it: in its namespace."""
    if document["kind"] != "CustomResourceDefinition":
        document["metadata"].setdefault("namespace", "shop")
    return document


def theirs(chart_path, values):
    with helm.Chart.load(chart_path) as chart, helm.Config(namespace="shop") as config:
        release = config.install(chart, "web", values, namespace="shop", dry_run="client")
        objects = documents(release["manifest"]) + [o for crd in chart.crds for o in documents(crd["data"])]
        for template in chart.render(values, name="web", namespace="shop").values():
            if "helm.sh/hook" in template:
                objects += [o for o in documents(template) if o["metadata"]["name"] == "taken"]
        return [placed(document) for document in objects], release.get("notes", "").strip()


def ours(agent, directory):
    def render(*more):
        words = [agent, "render", str(directory), "--show-secrets", "--output", "json", *more]
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)

    notes = render("--notes")
    return [one["object"] for one in render()], notes[0]["notes"].strip() if notes else ""


def compare(agent, about, files, values_files, inline):
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        chart = root / "chart"
        for path, text in {"Chart.yaml": CHART, **files}.items():
            (chart / path).parent.mkdir(parents=True, exist_ok=True)
            (chart / path).write_text(text)
        if (chart / "packed").is_dir():
            (chart / "charts").mkdir()
            with tarfile.open(chart / "charts/packed-0.1.0.tgz", "w:gz") as archive:
                archive.add(chart / "packed", "packed")
        names = [f"values-{number}.yaml" for number in range(len(values_files))]
        values = {}
        for name, text in zip(names, values_files):
            (chart / name).write_text(text)
            values = merged(values, helm.values_from_yaml(text))
        options = {"valuesFiles": names} | ({"values": inline} if inline else {})
        component = {"name": "web", "path": "chart", "namespace": "shop", "helm": options}
        platform = {"apiVersion": "tk8s.io/v1alpha1", "kind": "Platform"}
        platform["layers"] = [{"number": 1, "name": "all", "components": [component]}]
        (root / "tk8s.yaml").write_text(json.dumps(platform))
        key = lambda one: (one["kind"], one["metadata"]["name"])
        (our_objects, our_notes), (their_objects, their_notes) = ours(agent, root), theirs(chart, merged(values, inline or {}))
        same = sorted(our_objects, key=key) == sorted(their_objects, key=key) and our_notes == their_notes
        print(f"{'ok' if same else 'DIFFERENT'}: {about}: {len(their_objects)} objects")
        if not same:
            print(json.dumps({"agent": [our_objects, our_notes], "sdk": [their_objects, their_notes]}, indent=1))
        return same


print(f"helm-python-sdk with Helm {helm.helm_sdk_version()}")
results = [compare(sys.argv[1], *chart) for chart in CHARTS]
sys.exit(0 if all(results) else 1)
