// A file's text into the field that is sent. What is too long to be looked at is sent beside the field.

const SHOWN = 100_000;

for (const input of document.querySelectorAll("[data-into]")) {
  const field = document.getElementById(input.dataset.into), said = input.parentElement.querySelector("output");
  const beside = Object.assign(document.createElement("input"), { type: "hidden", name: field.name, disabled: true });
  input.closest("[data-with-script]").hidden = false;
  field.after(beside);
  input.addEventListener("change", async () => {
    const [file] = input.files, isTooLarge = file?.size > input.dataset.most;
    const text = file && !isTooLarge ? await file.text() : "";
    const isShown = text.length <= SHOWN;
    [field.value, beside.value] = isShown ? [text, ""] : ["", text];
    [field.disabled, beside.disabled] = [!isShown, isShown];
    const size = `${((file?.size ?? 0) / 2 ** 20).toFixed(1)} MB`;
    said.textContent = !file ? "" : isTooLarge ? `${file.name} has ${size}, and ${input.dataset.most / 2 ** 20} MB are the most: split it.`
      : `${file.name}, ${text.trim().split("\n").length.toLocaleString()} lines, ${size}${isShown ? "" : ": sent without being shown"}`;
    if (isTooLarge) input.value = "";
  });
}
