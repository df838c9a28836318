// The page behind an admin's link. The code stands behind the #, which browsers send to nobody: it is in no log.

const code = decodeURIComponent(location.hash.slice(1));
const form = document.querySelector("form"), said = document.querySelector("[role=status]");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [password, again] = ["new", "again"].map((name) => document.getElementById(name).value);
  if (password !== again) {
    said.textContent = "The two are not the same.";
    return;
  }
  const answer = await fetch("/api/v1/auth/reset", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code, password }),
  });
  if (answer.ok) {
    history.replaceState(null, "", location.pathname);
    form.hidden = true;
    said.innerHTML = 'The password is set, and all sessions have ended. <a href="/login">Log in</a> with it.';
  } else {
    said.textContent = (await answer.json()).detail;
  }
});
