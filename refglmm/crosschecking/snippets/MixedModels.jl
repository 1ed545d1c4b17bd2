# refglmm_report(fit, "reported.json"): what MixedModels.jl reports of a fit, linear or generalized.
using MixedModels, StatsAPI, Printf

refglmm_json(x::Nothing) = "null"
refglmm_json(x::Bool) = string(x)
refglmm_json(x::Integer) = string(x)
refglmm_json(x::Real) = isfinite(x) ? @sprintf("%.17g", x) : "null"
refglmm_json(x::Union{AbstractString,Symbol}) = "\"" * escape_string(string(x)) * "\""
refglmm_json(x::Pair) = refglmm_json(string(x.first)) * ": " * refglmm_json(x.second)
refglmm_json(x::AbstractVector{<:Pair}) = "{" * join(refglmm_json.(x), ", ") * "}"
refglmm_json(x::AbstractVector) = "[" * join(refglmm_json.(x), ", ") * "]"

function refglmm_rows(fit)
    rows = []
    for (group, term) in pairs(VarCorr(fit).σρ)
        names = collect(keys(term.σ))
        for name in names
            push!(rows, ["group" => group, "name" => name, "name2" => nothing, "value" => term.σ[name]])
        end
        place = 0
        for j in 2:length(names), i in 1:(j - 1)
            place += 1
            push!(rows, ["group" => group, "name" => names[i], "name2" => names[j], "value" => term.ρ[place]])
        end
    end
    return rows
end

function refglmm_report(fit, file = "reported.json"; fast = false, n_agq = 1)
    linear = fit isa LinearMixedModel
    names = coefnames(fit)
    reported = Pair[
        "program" => "MixedModels",
        "version" => string(pkgversion(MixedModels)),
        "formula" => string(formula(fit)),
        "family" => linear ? "gaussian" : lowercase(string(nameof(typeof(fit.resp.d)))),
        "link" => linear ? "identity" : lowercase(replace(string(nameof(typeof(GLM.Link(fit.resp)))), "Link" => "")),
        "n_agq" => linear ? nothing : (fast ? 0 : n_agq),
        "reml" => linear && fit.optsum.REML,
        "nobs" => nobs(fit),
        "ngroups" => Pair[string(fname(term)) => nlevs(term) for term in fit.reterms],
        "fixef" => Pair[n => v for (n, v) in zip(names, coef(fit))],
        "se" => Pair[n => v for (n, v) in zip(names, stderror(fit))],
        "varcorr" => refglmm_rows(fit),
        "theta" => collect(fit.θ),
        "sigma" => linear ? fit.σ : nothing,
        "loglik" => loglikelihood(fit),
        "aic" => linear && fit.optsum.REML ? nothing : aic(fit),
        "bic" => linear && fit.optsum.REML ? nothing : bic(fit),
        "deviance" => linear && fit.optsum.REML ? nothing : deviance(fit),
    ]
    write(file, refglmm_json(reported))
    return nothing
end
