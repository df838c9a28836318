// A file's text into the field that is sent.

for (const input of document.querySelectorAll("[data-into]")) {
  input.closest("[data-with-script]").hidden = false;
  input.addEventListener("change", async () => {
    if (input.files[0]) document.getElementById(input.dataset.into).value = await input.files[0].text();
  });
}
