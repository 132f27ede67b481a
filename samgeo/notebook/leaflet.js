// On somebody's map the right click is ours: keep the menu of JupyterLab away while the panel is there.
export default {
  render({ el }) {
    let map = null;
    const find = () => {
      map = el.closest(".leaflet-container");
      if (map) map.dataset.jpSuppressContextMenu = "";
      else waiting = requestAnimationFrame(find);
    };
    let waiting = requestAnimationFrame(find);
    return () => {
      cancelAnimationFrame(waiting);
      if (map) delete map.dataset.jpSuppressContextMenu;
    };
  },
};
