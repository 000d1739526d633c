// The API in words, from its own OpenAPI description.

function make(tag, text = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function resolved(api, schema) {
  return schema && schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items || {})}[]`;
  return schema.type || "any";
}

function fields(api, route) {
  const rows = (route.parameters || []).map((p) => [p.name, typeOf(p.schema), p.required, p.description]);
  const content = Object.values((route.requestBody || { content: {} }).content)[0];
  const body = content && resolved(api, content.schema);
  for (const [name, field] of Object.entries((body && body.properties) || {})) {
    rows.push([name, typeOf(field), (body.required || []).includes(name), field.description]);
  }
  return rows;
}

function section(api, path, method, route) {
  const box = make("section");
  const title = make("h2");
  title.append(make("code", `${method.toUpperCase()} ${path}`));
  box.append(title, make("p", route.description || route.summary || ""));
  const rows = fields(api, route);
  if (rows.length) {
    const table = make("table");
    for (const [name, type, required, words] of rows) {
      const row = make("tr");
      const head = make("th");
      head.scope = "row";
      head.append(make("code", name));
      row.append(head, make("td", required ? `${type}, needed` : type), make("td", words || ""));
      table.append(row);
    }
    box.append(table);
  }
  return box;
}

const api = await (await fetch("/openapi.json")).json();
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    document.getElementById("routes").append(section(api, path, method, route));
  }
}
