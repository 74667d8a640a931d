//! Which provider each node of a graph was given to, and whether that is as it should be.

/// A node, and who runs it, as ONNX Runtime recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub provider: String,
    pub name: String,
    pub kind: String,
}

/// Names beyond these help nobody.
const SHOWN: usize = 4;

/// Why a graph doesn't run on `provider` as a whole, if it doesn't.
pub fn strays(nodes: &[Placed], provider: &str) -> Option<String> {
    if nodes.is_empty() {
        return Some("ONNX Runtime doesn't report what runs its nodes".to_owned());
    }
    let strays: Vec<&Placed> = nodes.iter().filter(|node| node.provider != provider).collect();
    let describe = |node: &&Placed| format!("{} ({})", node.name, node.kind);
    let named: Vec<String> = strays.iter().take(SHOWN).map(describe).collect();
    let place = match strays.first()?.provider.as_str() {
        "CPUExecutionProvider" => "the CPU",
        other => other,
    };
    Some(match strays.len() {
        1 => format!("node {} runs on {place} in a GPU run", named[0]),
        count if count > SHOWN => {
            format!("nodes {} and {} more run on {place} in a GPU run", named.join(", "), count - SHOWN)
        }
        _ => format!("nodes {} run on {place} in a GPU run", named.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(provider: &str, name: &str, kind: &str) -> Placed {
        Placed { provider: format!("{provider}ExecutionProvider"), name: name.into(), kind: kind.into() }
    }

    #[test]
    fn nodes_on_the_processor_are_named() {
        let cuda = "CUDAExecutionProvider";
        let mut nodes = vec![node("CUDA", "MatMul_1", "MatMul"), node("CPU", "Softmax_12", "Softmax")];
        assert_eq!(strays(&nodes[..1], cuda), None);
        let why = strays(&nodes, cuda).unwrap();
        assert_eq!(why, "node Softmax_12 (Softmax) runs on the CPU in a GPU run");
        nodes.extend((0..5).map(|place| node("CPU", &format!("Shape_{place}"), "Shape")));
        let why = strays(&nodes, cuda).unwrap();
        assert_eq!(
            why,
            "nodes Softmax_12 (Softmax), Shape_0 (Shape), Shape_1 (Shape), Shape_2 (Shape) and 2 more run on the CPU in \
             a GPU run"
        );
        assert!(
            strays(&nodes[1..3], cuda)
                .unwrap()
                .starts_with("nodes Softmax_12 (Softmax), Shape_0 (Shape) run")
        );
    }

    #[test]
    fn a_library_that_tells_nothing_is_not_believed() {
        assert!(strays(&[], "CUDAExecutionProvider").unwrap().contains("doesn't report"));
    }
}
