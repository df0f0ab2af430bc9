"use strict";
(async () => {
  const pack = document.getElementById("plotly").textContent.trim();
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const alarm = (words) => {
    const p = document.createElement("p");
    p.className = "alarm";
    p.textContent = words;
    document.querySelector("h1").after(p);
  };
  if (typeof DecompressionStream === "undefined") {
    alarm("The charts need a browser of 2023 or newer; all figures are in the tables.");
    return;
  }
  const bytes = Uint8Array.from(atob(pack), (c) => c.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = await new Response(
    new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const role = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name.slice(1)).trim();
  // Only under keys that end in "color": a strategy may be called @own.
  const dressed = (value, key) => {
    if (typeof value === "string") return /color$/.test(key) && value.startsWith("@") ? role(value) : value;
    if (Array.isArray(value)) return value.map((item) => dressed(item, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, dressed(item, name)]));
    }
    return value;
  };
  const axis = { gridcolor: "@grid", linecolor: "@line", zerolinecolor: "@line", automargin: true, fixedrange: false };
  const layoutOf = (chart) => {
    const own = chart.layout;
    const narrow = innerWidth < 640;
    const base = {
      font: { color: "@ink", size: narrow ? 11 : 13, family: getComputedStyle(document.body).fontFamily },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: narrow ? 44 : 64, r: narrow ? 8 : 16, t: 8, b: 36 },
      height: chart.height, hovermode: "closest", modebar: { bgcolor: "rgba(0,0,0,0)", color: "@faint", activecolor: "@own" }, dragmode: touch ? false : "zoom", uirevision: "kept",
      hoverlabel: { bgcolor: "@panel", bordercolor: "@line", font: { color: "@ink" }, align: "left", namelength: -1 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
      showlegend: chart.traces.filter((trace) => trace.showlegend !== false).length > 1,
    };
    const layout = { ...base, ...own };
    layout.legend = { ...base.legend, ...(own.legend || {}) };
    layout.margin = { ...base.margin, ...(own.margin || {}) };
    layout.xaxis = { ...axis, ...(own.xaxis || {}) };
    layout.yaxis = { ...axis, ...(own.yaxis || {}) };
    if (narrow && layout.yaxis.title) layout.yaxis = { ...layout.yaxis, title: undefined };
    return dressed(layout, "layout");
  };
  const config = {
    responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  const draw = (chart) => Plotly.react(chart.id, dressed(chart.traces, "traces"), layoutOf(chart), config);

  let moving = false;
  const together = (chart) => document.getElementById(chart.id).on("plotly_relayout", async (change) => {
    const reset = change["xaxis.autorange"];
    const range = change["xaxis.range"] || (change["xaxis.range[0]"] !== undefined
      && [change["xaxis.range[0]"], change["xaxis.range[1]"]]);
    if (moving || !(reset || range)) return;
    moving = true;
    const others = charts.filter((other) => other.timeline && other.id !== chart.id);
    await Promise.all(others.map((other) => Plotly.relayout(other.id,
      reset ? { "xaxis.autorange": true, "yaxis.autorange": true } : { "xaxis.range": range.slice() })));
    moving = false;
  });
  for (const chart of charts) {
    await draw(chart);
    if (chart.timeline) together(chart);
  }
  dark.addEventListener("change", () => charts.forEach(draw));
  document.documentElement.dataset.drawn = String(charts.length);
})();
