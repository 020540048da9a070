"use strict";
// A table sorts by the column whose head is pressed; pressed again, the other way round. Empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => ({row, place, key: key(row)}));
    rows.sort((a, b) => {
      if ((a.key === "") !== (b.key === "")) return a.key === "" ? 1 : -1;
      const numbers = a.key !== "" && !isNaN(a.key) && !isNaN(b.key);
      const order = numbers ? a.key - b.key : a.key.localeCompare(b.key, undefined, {numeric: true});
      return (up ? order : -order) || a.place - b.place;
    });
    body.append(...rows.map(each => each.row));
  }));
}
// A link to runs opens them, wherever they are folded away.
function open() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", open);
open();
