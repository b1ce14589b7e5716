// Claims by what they are about, as `legible.reading.families` groups them; a test compares the two.

export const LABELS = { context: "holds", now: "now", next: "next", ahead: "about to say" };
export const SILENT = "says nothing of it";
export const ONLY_DOUBTFUL = "only doubtful claims";

/** Whether readings are shown by family: where any of them says what the model is about to do. */
export function areGrouped(readings) {
  return [...readings].some(({ claims }) => claims.some(({ family }) => family === "ahead"));
}

/** Every family of some claims in order as { label, claims, text }, those of which nothing is said included. */
export function byFamily(claims) {
  return Object.entries(LABELS).map(([family, label]) => {
    const mine = claims.filter((claim) => claim.family === family);
    return { label, claims: mine, text: [...new Set(mine.map((claim) => claim.text))].join(" ") };
  });
}
